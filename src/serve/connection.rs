//! One connection: requests in, answers out, and the reasons to end it.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::reply::Failure;
use super::routes::answer;
use super::service::Service;

/// Bytes of a request's head, and of what is read of a body at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Serves a connection until its client leaves, its place is needed, or the server stops; a request
/// that is in work then gets its answer.
pub(super) async fn serve(
    stream: TcpStream,
    service: Arc<Service>,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let limits = &service.options.limits;
    let stream = TokioIo::new(Impatient::new(stream, limits.write_time));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(BUFFER_BYTES);
    let handler = service_fn(|request| {
        let (service, place) = (Arc::clone(&service), Arc::clone(&place));
        async move { Ok::<_, Infallible>(answer(&service, &place, request).await) }
    });
    let mut connection = pin!(builder.serve_connection(stream, handler));
    let mut stopping = false;
    loop {
        tokio::select! {
            // What went wrong with a connection is its client's affair: it ends either way.
            _ended = connection.as_mut() => return,
            () = place.wait_to_leave() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells a client that there is no place for it, as far as that can be done without waiting.
pub(super) fn turn_away(stream: &TcpStream) {
    let reply = Failure::busy("as many clients as may are being worked for; ask again");
    let body = serde_json::json!({"error": {"code": reply.code, "message": reply.message}});
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that cannot be told notices that the connection ends.
    let _told = stream.try_write((head + &body).as_bytes());
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct Impatient {
    stream: TcpStream,
    time: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, time: Duration) -> Impatient {
        Impatient { stream, time, waiting: None }
    }

    fn wait<T>(&mut self, context: &mut Context, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let time = self.time;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wait(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wait(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.wait(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wait(context, poll)
    }
}
