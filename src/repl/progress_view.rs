//! Long work on the screen: one line, after a second, gone when the work is over.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;

use super::console::grouped;
use super::training_view::duration;
use crate::diag::{Progress, Reached};
use crate::session::Session;

/// Work that is over sooner shows nothing.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How often the line is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// The width of the bar, in characters.
const BAR_WIDTH: usize = 30;

/// Goes to the line's beginning and empties it.
const CLEAR: &str = "\r\x1b[2K";

/// The line. Who writes to the screen takes it away first.
#[derive(Clone, Default)]
pub(super) struct ProgressLine(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    /// Whether the screen belongs to something else until the work is over.
    is_hidden: bool,
    is_drawn: bool,
}

impl ProgressLine {
    /// Takes the line away for as long as the work lasts.
    pub fn hide(&self) {
        self.set(true);
    }

    fn set(&self, is_hidden: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_hidden = is_hidden;
        self.take_away();
    }

    fn take_away(&self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut shown.is_drawn) {
            write(CLEAR);
        }
    }

    fn draw(&self, reached: Reached, elapsed: Duration) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_hidden {
            return;
        }
        let bar = match reached.total {
            0 => String::new(),
            total => {
                let part = (reached.done.min(total) as f64 / total as f64).clamp(0.0, 1.0);
                let full = (part * BAR_WIDTH as f64) as usize;
                let (done, left) = ("█".repeat(full), "░".repeat(BAR_WIDTH - full));
                format!("{done}{left} {:>3.0}%  ", (part * 100.0).floor())
            }
        };
        let line = format!("{bar}{}", message(reached, elapsed));
        // A line that is wrapped, or one on which a Ctrl-C is echoed and wrapped, is not cleared.
        let width = usize::from(Term::stderr().size().1).saturating_sub(4);
        write(&format!("{CLEAR}{}", line.chars().take(width).collect::<String>()));
        shown.is_drawn = true;
    }
}

fn write(text: &str) {
    // Nobody is left to see it when standard error is closed.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says what is being done, how far it is, and how long it may take.
fn message(reached: Reached, elapsed: Duration) -> String {
    let Reached { work, done, total } = reached;
    let since = duration(elapsed);
    match total {
        0 if done > 0 => format!("{work}: {}  {since}", grouped(done)),
        0 => format!("{work}  {since}"),
        _ if done >= total => format!("{work}: done, working on them  {since}"),
        _ => {
            let of = format!("{work}: {} of {}", grouped(done), grouped(total));
            // What little is done says nothing about the rest.
            let is_known = done > 0 && done as f64 / total as f64 > 0.02;
            let left = elapsed.mul_f64((total - done) as f64 / done.max(1) as f64);
            if is_known { format!("{of}  {} left", duration(left)) } else { of }
        }
    }
}

/// Watches work until it is dropped.
pub(super) struct Watch {
    line: ProgressLine,
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch; off a terminal nothing is shown.
    pub fn begin(progress: &Progress, line: &ProgressLine) -> Watch {
        line.set(false);
        let mut watch = Watch { line: line.clone(), over: None, thread: None };
        if !io::stderr().is_terminal() {
            return watch;
        }
        let (over, waits) = channel::<()>();
        let (progress, line, began) = (progress.clone(), line.clone(), Instant::now());
        let mut wait = SHOWN_AFTER;
        // Without a thread nothing is shown, and the work goes on all the same.
        let builder = std::thread::Builder::new().name("progress".to_owned());
        watch.thread = builder
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = waits.recv_timeout(wait) {
                    wait = DRAWN_EVERY;
                    match progress.reached() {
                        Some(reached) => line.draw(reached, began.elapsed()),
                        None => line.take_away(),
                    }
                }
            })
            .ok();
        watch.over = Some(over);
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.over.take());
        // The thread only draws; should it have failed, there is no line to take away.
        let _ = self.thread.take().map(JoinHandle::join);
        self.line.set(false);
    }
}

/// Runs work of a session with its progress on the screen.
pub fn watched<T>(session: &Session, work: impl FnOnce() -> T) -> T {
    watched_progress(session.progress(), work)
}

/// Runs work with its progress on the screen.
pub(super) fn watched_progress<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    let _watch = Watch::begin(progress, &ProgressLine::default());
    work()
}
