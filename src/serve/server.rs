//! Listening, and stopping without cutting anybody off.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::diag::list_some;

use super::backend::Backend;
use super::connection;
use super::error::ServeError;
use super::mcp::McpServer;
use super::options::Options;
use super::places::Places;
use super::service::Service;

/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 4096;

/// How long to wait where the system has no file handle for a connection.
const NO_HANDLE_WAIT: Duration = Duration::from_millis(5);

/// How long threads may go on after everything was cancelled.
const THREADS_WAIT: Duration = Duration::from_millis(500);

/// Takes what happens, for whoever prints it.
pub type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// What happens to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It listens.
    Started {
        /// Where.
        address: SocketAddr,
        /// The corpora it serves.
        corpora: Vec<String>,
        /// Whether clients need a token.
        token: bool,
    },
    /// It takes no more connections.
    Stopping {
        /// Connections that are open.
        open: usize,
    },
    /// It ended.
    Stopped(Summary),
}

/// What a server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Requests that were answered, errors included.
    pub requests: u64,
    /// Connections that were cut because they did not end in time.
    pub cut: usize,
}

impl fmt::Display for Event {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { address, corpora, token } => {
                let corpora = list_some(corpora.iter().map(String::as_str));
                let token = if *token { "with a token" } else { "without a token" };
                write!(to, "listening on http://{address} {token}; corpora: {corpora}")
            }
            Event::Stopping { open } => {
                write!(to, "stopping: no new requests, {open} connections open")
            }
            Event::Stopped(Summary { requests, cut: 0 }) => {
                write!(to, "stopped after {requests} requests")
            }
            Event::Stopped(Summary { requests, cut }) => {
                write!(to, "stopped after {requests} requests; {cut} connections were cut")
            }
        }
    }
}

/// Stops a server, from any thread and from a signal's handler: once so that what runs is finished,
/// twice at once.
#[derive(Clone, Default)]
pub struct Stop {
    gently: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Stops the server; called again, without waiting for what runs.
    pub fn stop(&self) {
        if self.gently.is_cancelled() {
            self.now.cancel();
        }
        self.gently.cancel();
    }
}

/// A server that listens.
pub struct Server {
    /// Taken out when the server ends, without waiting for its threads.
    runtime: Option<Runtime>,
    listener: Option<TcpListener>,
    address: SocketAddr,
    service: Arc<Service>,
    stop: Stop,
    events: EventSink,
}

impl Server {
    /// Listens. Clients are answered when it runs.
    ///
    /// # Errors
    /// Options or names that do not hold, an address that is taken, no threads.
    pub fn bind(
        backend: Arc<dyn Backend>,
        options: Options,
        events: EventSink,
    ) -> Result<Server, ServeError> {
        let address = options.address;
        let service = Arc::new(Service::new(backend, options)?);
        let runtime = runtime(&service.options)?;
        let listen = || {
            let _inside = runtime.enter();
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // An address is free again as soon as the server before has ended.
            socket.set_reuseaddr(cfg!(unix))?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) =
            listen().map_err(|source| ServeError::Listen { address, source })?;
        let (runtime, listener, stop) = (Some(runtime), Some(listener), Stop::default());
        Ok(Server { runtime, listener, address, service, stop, events })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what stops it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers clients until it is stopped. Blocks; not to be called inside an asynchronous task.
    ///
    /// # Errors
    /// Only where it ran before.
    pub fn run(mut self) -> Result<Summary, ServeError> {
        let (Some(runtime), Some(listener)) = (self.runtime.take(), self.listener.take()) else {
            return Err(ServeError::Run(std::io::Error::other("the server ran already")));
        };
        (self.events)(&Event::Started {
            address: self.address,
            corpora: self.service.corpora.iter().map(|corpus| corpus.name.clone()).collect(),
            token: self.service.options.token.is_some(),
        });
        let summary = runtime.block_on(self.accept(listener));
        runtime.shutdown_timeout(THREADS_WAIT);
        (self.events)(&Event::Stopped(summary));
        Ok(summary)
    }

    async fn accept(&self, listener: TcpListener) -> Summary {
        let places = Places::new(self.service.options.limits.connections);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.gently.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else {
                // No file handle, mostly: idle connections give theirs back.
                places.shrink();
                sleep(NO_HANDLE_WAIT).await;
                continue;
            };
            let Some(place) = places.take() else {
                connection::turn_away(&stream);
                continue;
            };
            // Answers are small; where this fails they are late and still right.
            let _late = stream.set_nodelay(true);
            let (service, stop) = (Arc::clone(&self.service), self.stop.gently.clone());
            connections.spawn(connection::serve(stream, service, place, stop));
        }
        drop(listener);
        self.finish(connections).await
    }

    /// Waits for what runs, as long as it may.
    async fn finish(&self, mut connections: JoinSet<()>) -> Summary {
        while connections.try_join_next().is_some() {}
        (self.events)(&Event::Stopping { open: connections.len() });
        let ended = async { while connections.join_next().await.is_some() {} };
        let stop_time = self.service.options.limits.stop_time;
        tokio::select! {
            _either = timeout(stop_time, ended) => {}
            () = self.stop.now.cancelled() => {}
        }
        let cut = connections.len();
        // Before the work ends: a connection that is cut says nothing any more.
        connections.shutdown().await;
        self.service.pool.end();
        Summary { requests: self.service.requests(), cut }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves the tools of a backend to the one client at standard input and output, until that closes
/// or the server is stopped. Blocks; nothing else may write to standard output.
///
/// # Errors
/// Options or names that do not hold, no threads, a client that speaks another protocol.
pub fn serve_stdio(
    backend: Arc<dyn Backend>,
    options: Options,
    stop: &Stop,
) -> Result<(), ServeError> {
    let server = McpServer::new(backend, options)?;
    let service = Arc::clone(server.service());
    let runtime = runtime(&service.options)?;
    let outcome = runtime.block_on(async {
        let transport = AsyncRwTransport::new_server(tokio::io::stdin(), tokio::io::stdout())
            .with_max_line_length(service.options.limits.body_bytes);
        let wrong = |error: &dyn fmt::Display| ServeError::Protocol(error.to_string());
        let running = match server.serve_with_ct(transport, stop.gently.clone()).await {
            Ok(running) => running,
            // A client that leaves before it said anything, or a stop: nothing went wrong.
            Err(_) if stop.gently.is_cancelled() => return Ok(()),
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(wrong(&error)),
        };
        running.waiting().await.map(|_| ()).map_err(|error| wrong(&error))
    });
    service.pool.end();
    // A thread may still wait for a line of standard input.
    runtime.shutdown_timeout(THREADS_WAIT);
    outcome
}

fn runtime(options: &Options) -> Result<Runtime, ServeError> {
    // Every call of the backend holds a permit; the others are for standard input and output.
    let blocking = options.limits.running.saturating_add(8);
    let mut builder = Builder::new_multi_thread();
    builder.enable_io().enable_time().worker_threads(2).max_blocking_threads(blocking);
    Ok(builder.thread_name("serve").build()?)
}
