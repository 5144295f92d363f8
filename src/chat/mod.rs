//! A client of any server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, hosted.
//!
//! ```text
//! requests -> bounded queue -> worker threads -> pace -> one try -> read -> results, with index
//!                                   ^                       |
//!                                   +---- pause, try again <-+  what may pass
//! ```
//!
//! Answers are asked for as a stream. Then a connection that carries a long answer is never idle,
//! which proxies cut; the server stops generating when nobody listens any more; and no more is
//! held than has come. The answer is handed on only when it is whole.
//!
//! Invariant: a stream is whole when every choice has a reason to end. One that stops before is an
//! error that is tried again, never a short answer. A server that answers with one JSON object is
//! read as one, and one that refuses to stream is asked without.
//!
//! Invariant: the key is in a header and nowhere else: not in `Debug`, errors, or what is recorded.
//! A server that says the key back is not quoted.
//!
//! What may pass is tried again: no connection, no answer in time, a cut answer, one that makes no
//! sense, and the statuses 408, 409, 425, 429 and 5xx. Pauses double, and are cut by a hash of the
//! request, so that requests that failed together do not come back together; `Retry-After` is kept,
//! by all requests of the client. Every other status says that the request is wrong, and stays.
//!
//! Nothing here reads the environment, a clock or random numbers: key, time and seeds are handed
//! in.

mod client;
mod clock;
mod crowd;
mod error;
mod messages;
mod options;
mod pace;
mod request;
mod response;
mod retry_after;
mod secret;
mod server_events;
mod transport;

pub use client::{ChatClient, Completed};
pub use clock::Clock;
pub use error::ChatError;
pub use messages::messages_json;
pub use options::ChatOptions;
pub use request::{ChatRequest, Sampling};
pub use response::{ChatResponse, Choice, ScoredToken, Usage};
pub use secret::ApiKey;
