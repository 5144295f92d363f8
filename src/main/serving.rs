//! The commands that serve and replay: `swirl serve`, `swirl replay`, `swirl recordings`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use swirldb::repl::{print_drift, watched};
use swirldb::serve::{DatabaseBackend, Limits, Options, Server, Stop, read_proxied, serve_stdio};
use swirldb::session::{Session, SessionError, toolbox};
use swirldb::tools::{RecordMode, Toolbox};

use super::corpus::{RetrievalArguments, at_least_one};
use super::{OpenArguments, note};

/// What there is to call.
#[derive(Args)]
pub struct OfferedArguments {
    /// A corpus to search; all that are sealed, if none is given.
    #[arg(long = "corpus", value_name = "NAME")]
    corpora: Vec<String>,
    #[command(flatten)]
    by: RetrievalArguments,
    /// Tools elsewhere to offer too: a TOML file.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
}

#[derive(Args)]
pub struct ServeArguments {
    /// The database.
    db: PathBuf,
    #[command(flatten)]
    offered: OfferedArguments,
    /// Speak the Model Context Protocol over standard input and output instead of listening.
    #[arg(long)]
    stdio: bool,
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    address: SocketAddr,
    /// The environment variable that holds the bearer token; needed off loopback.
    #[arg(long, value_name = "VARIABLE")]
    token_from: Option<String>,
    /// A name by which clients may call this server, beside loopback's.
    #[arg(long = "allow-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// An origin of web pages that may call it, such as https://example.org.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// Documents that /retrieve returns where a request does not say how many.
    #[arg(long, default_value_t = Options::default().topk)]
    topk: usize,
    /// Do not offer the tool `query`, which reads the trajectories.
    #[arg(long)]
    no_query: bool,
    /// Record calls of tools in this cassette, or replay them from it.
    #[arg(long, value_name = "CASSETTE")]
    record: Option<String>,
    /// How: once, new_episodes, all, or none: the cassette alone says what is served and answers;
    /// corpora and tools elsewhere are not opened.
    #[arg(long, default_value = "once", requires = "record", value_parser = record_mode)]
    mode: RecordMode,
    /// Seconds that a request may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    /// Bytes of a request at most.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes)]
    max_body: usize,
    /// Documents of an answer at most.
    #[arg(long, value_name = "N", default_value_t = Limits::default().hits)]
    #[arg(value_parser = at_least_one)]
    max_k: usize,
    /// Calls that run at once; as many as there are threads, if not given.
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Connections that are open at once.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    connections: usize,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Args)]
pub struct ReplayArguments {
    /// The database.
    db: PathBuf,
    /// The cassette.
    cassette: String,
    #[command(flatten)]
    offered: OfferedArguments,
    #[command(flatten)]
    open: OpenArguments,
}

#[derive(Subcommand)]
pub enum RecordingsCommand {
    /// Write the recordings of a cassette to a file, a line each.
    Export {
        /// The database.
        db: PathBuf,
        /// The cassette.
        cassette: String,
        /// The file; .gz and .zst compress it.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        open: OpenArguments,
    },
    /// Store the recordings of a file in a cassette.
    Import {
        /// The database; made where there is none.
        db: PathBuf,
        /// The cassette.
        cassette: String,
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        open: OpenArguments,
    },
}

fn record_mode(word: &str) -> Result<RecordMode, String> {
    let known = RecordMode::ALL.map(RecordMode::as_str).join(", ");
    RecordMode::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

fn wrong(error: impl std::fmt::Display) -> SessionError {
    SessionError::mistake("serve", error.to_string())
}

/// Serves a database until it is stopped.
pub fn serve(arguments: ServeArguments) -> Result<(), SessionError> {
    let token = arguments.token_from.as_ref().map(|variable| {
        let token = std::env::var(variable).ok().filter(|token| !token.is_empty());
        token.ok_or_else(|| wrong(format!("the environment variable {variable} holds no token")))
    });
    let token = token.transpose()?;
    let timeout = Duration::try_from_secs_f64(arguments.timeout).map_err(wrong)?;
    // Whoever records, or counts what was replayed, writes; otherwise any number of servers share a
    // database.
    let writes = arguments.record.is_some() && !arguments.open.read_only;
    if !writes && arguments.record.is_some() && arguments.mode != RecordMode::None {
        return Err(wrong(
            "a database that is opened for reading only records nothing: --mode none",
        ));
    }
    let open = OpenArguments { read_only: !writes, ..arguments.open.clone() };
    if !writes && !arguments.open.read_only {
        build_indices(&arguments)?;
    }
    let session = Arc::new(open.quiet_session(&arguments.db)?);
    let backend = Arc::new(backend(&session, &arguments)?);
    let limits = Limits {
        body_bytes: arguments.max_body,
        hits: arguments.max_k,
        running: arguments.concurrency.unwrap_or_else(|| open.threads().max(2)),
        connections: arguments.connections,
        request_time: timeout,
        ..Limits::default()
    };
    let options = Options {
        address: arguments.address,
        token,
        allowed_hosts: arguments.allowed_hosts,
        allowed_origins: arguments.allowed_origins,
        corpus: None,
        topk: arguments.topk,
        limits,
    };
    if arguments.stdio {
        let stop = Stop::default();
        on_signal(&stop)?;
        return serve_stdio(backend, options, &stop).map_err(wrong);
    }
    let events = Arc::new(|event: &swirldb::serve::Event| note(&event.to_string()));
    let server = Server::bind(backend, options, events).map_err(wrong)?;
    on_signal(&server.stop())?;
    server.run().map(drop).map_err(wrong)
}

/// Builds what indices of the corpora are not there, before the database is opened for reading.
fn build_indices(arguments: &ServeArguments) -> Result<(), SessionError> {
    let reading = OpenArguments { read_only: true, ..arguments.open.clone() };
    let database = reading.quiet_session(&arguments.db)?;
    let names = match arguments.offered.corpora.is_empty() {
        true => database.database().store().corpora()?.into_iter().map(|c| c.name).collect(),
        false => arguments.offered.corpora.clone(),
    };
    let mut missing = Vec::new();
    for name in names {
        if !database.database().has_index(&name)? {
            missing.push(name);
        }
    }
    drop(database);
    if !missing.is_empty() {
        let writing = arguments.open.quiet_session(&arguments.db)?;
        for name in &missing {
            watched(&writing, || writing.open_corpus(name))?;
        }
    }
    Ok(())
}

/// Returns what is served: open, recorded, or from recordings alone.
fn backend(
    session: &Arc<Session>,
    arguments: &ServeArguments,
) -> Result<DatabaseBackend, SessionError> {
    let recorder = arguments.record.as_ref().map(|name| session.recorder(name, arguments.mode));
    let recorder = recorder.transpose()?.map(Arc::new);
    if let Some(recorder) = &recorder
        && arguments.mode == RecordMode::None
    {
        return DatabaseBackend::replayed(Arc::clone(recorder), &arguments.offered.corpora);
    }
    let (corpora, tools) = arguments.offered.open(session, !arguments.no_query)?;
    let backend = DatabaseBackend::new(corpora, tools);
    match recorder {
        None => Ok(backend),
        Some(recorder) => backend.recorded(recorder).map_err(wrong),
    }
}

fn on_signal(stop: &Stop) -> Result<(), SessionError> {
    let stop = stop.clone();
    let set = ctrlc::set_handler(move || stop.stop());
    set.map_err(|error| SessionError::Environment(error.to_string()))
}

type Corpora = Vec<Arc<swirldb::db::Corpus>>;

impl OfferedArguments {
    /// Opens corpora and tools.
    fn open(
        &self,
        session: &Arc<Session>,
        with_query: bool,
    ) -> Result<(Corpora, Toolbox), SessionError> {
        let open = |name: &str| self.by.open(session, name);
        let opened = || DatabaseBackend::open_corpora(session, &self.corpora, open);
        let corpora = watched(session, opened)?;
        let mut tools = toolbox(session, &corpora, with_query).map_err(wrong)?;
        if let Some(path) = &self.tools {
            for tool in read_proxied(path).map_err(wrong)? {
                tools.add(tool).map_err(wrong)?;
            }
        }
        Ok((corpora, tools))
    }
}

/// Makes recorded calls again. Exits with 1 where something has drifted.
pub fn replay(arguments: ReplayArguments) -> Result<ExitCode, SessionError> {
    let session = Arc::new(arguments.open.session(&arguments.db, false)?);
    let (_, tools) = arguments.offered.open(&session, true)?;
    let report = watched(&session, || session.replay(&arguments.cassette, &tools))?;
    print_drift(&report, &mut std::io::stdout().lock())?;
    if report.is_cut {
        return Err(SessionError::Cancelled);
    }
    Ok(if report.drifts.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs a command of recordings.
pub fn recordings(command: RecordingsCommand) -> Result<(), SessionError> {
    match command {
        RecordingsCommand::Export { db, cassette, to, open } => {
            let session = open.session(&db, false)?;
            let written = session.export_recordings(&cassette, &to)?;
            note(&format!("{}: {written} recordings", to.display()));
        }
        RecordingsCommand::Import { db, cassette, file, open } => {
            let session = open.session(&db, true)?;
            let (new, conflicts) = session.import_recordings(&cassette, &file)?;
            note(&format!("cassette {cassette}: {new} new recordings"));
            if conflicts > 0 {
                let message = format!(
                    "{conflicts} calls are recorded there with another answer, and were left out"
                );
                return Err(SessionError::mistake("recording", message));
            }
        }
    }
    Ok(())
}
