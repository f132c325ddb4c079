//! The commands.

use clap::CommandFactory;

use super::{
    args::{CtlArgs, CtlCommand, CtlOptions, FlushArgs, StatusArgs, SyncSelectionArgs},
    connection::ChosenDaemon,
    failure::{CtlFailure, Severity},
    output::{self, OutputStyle},
    records, selection, serving,
    status::{self, StatusView},
    stop, text, watch,
};
use crate::control::{
    client_error::ClientError,
    frame::ErrorKind,
    request::{
        ExplainDocument, FlushResult, HistoryDocument, Request, Selection, SyncNames,
        VerifyDocument,
    },
    status::StatusDocument,
};

/// Carries out a command.
///
/// # Errors
///
/// If it has failed. Nothing is reported yet.
pub(super) fn run(args: &CtlArgs) -> Result<Severity, CtlFailure> {
    let options = &args.options;
    match &args.command {
        CtlCommand::Status(args) => show_status(options, args),
        CtlCommand::Flush(args) => flush(options, args),
        CtlCommand::Pause(args) => change(options, &Request::Pause(args.resolve()?), "paused"),
        CtlCommand::Resume(args) => change(options, &Request::Resume(args.resolve()?), "resumed"),
        CtlCommand::Resync(args) => {
            change(options, &Request::Resync(args.resolve()?), "transfer requested")
        }
        CtlCommand::Release(args) => change(options, &Request::Release(whole(args)), "released"),
        CtlCommand::Retry(args) => change(options, &Request::Retry(whole(args)), "retried"),
        CtlCommand::Reload => reload(options),
        CtlCommand::Explain(args) => {
            let request = Request::Explain { path: selection::absolute(&args.path)? };
            let daemon = ChosenDaemon::find(options)?;
            daemon.show(&request, |document: &ExplainDocument| records::explanation(document))?;
            Ok(Severity::Ok)
        }
        CtlCommand::Verify(args) => {
            let request = Request::Verify(args.resolve()?);
            let document: VerifyDocument =
                ChosenDaemon::find(options)?.show(&request, records::drift)?;
            Ok(records::drift_severity(&document))
        }
        CtlCommand::Log(args) => print_text(options, &Request::Log { level: args.level.clone() }),
        CtlCommand::Stop(args) => stop::run(options, args),
        CtlCommand::Metrics => print_text(options, &Request::Metrics),
        CtlCommand::History(args) => {
            let request =
                Request::History { selection: args.selection.resolve()?, limit: Some(args.limit) };
            let style = OutputStyle::of_stdout();
            let text = |document: &HistoryDocument| records::history(document, style);
            ChosenDaemon::find(options)?.show(&request, text)?;
            Ok(Severity::Ok)
        }
        CtlCommand::Serve(args) => serving::run(options, args),
        CtlCommand::Completions(args) => {
            output::print_bytes(&args.shell.script(CtlArgs::command()));
            Ok(Severity::Ok)
        }
    }
}

fn show_status(options: &CtlOptions, args: &StatusArgs) -> Result<Severity, CtlFailure> {
    let request = Request::Status(args.selection.resolve()?);
    let view = StatusView { max_age: args.max_age, is_verbose: args.verbose };
    if let Some(interval) = args.watch {
        return watch::run(options, watch::LiveView { request, view, interval });
    }
    let text = |document: &StatusDocument| {
        if args.nagios {
            return status::plugin_output(document, args.max_age);
        }
        let style = OutputStyle::of_stdout();
        style.lines(&view.lines(document, style))
    };
    let document = ChosenDaemon::find(options)?.show(&request, text)?;
    Ok(status::severity(&document, args.max_age))
}

fn flush(options: &CtlOptions, args: &FlushArgs) -> Result<Severity, CtlFailure> {
    let selections = args.selections.iter().map(|argument| selection::resolve(argument));
    let mut selections = selections.collect::<Result<Vec<Selection>, CtlFailure>>()?.into_iter();
    let request = Request::Flush {
        selection: selections.next().unwrap_or_default(),
        also: selections.collect(),
        timeout: args.timeout.map(|timeout| timeout.as_secs_f64()),
    };
    let result: FlushResult = ChosenDaemon::find(options)?.show(&request, records::flushed)?;
    Ok(if result.is_complete { Severity::Ok } else { Severity::Warning })
}

/// Carries out a request that changes syncs, and prints their names.
fn change(options: &CtlOptions, request: &Request, done: &str) -> Result<Severity, CtlFailure> {
    let text = |result: &SyncNames| {
        if result.syncs.is_empty() {
            return "nothing to do: it applies to no sync\n".to_owned();
        }
        let lines = result.syncs.iter().map(|name| format!("{}: {done}\n", text::clean(name)));
        lines.collect::<Vec<_>>().concat()
    };
    ChosenDaemon::find(options)?.show(request, text)?;
    Ok(Severity::Ok)
}

fn reload(options: &CtlOptions) -> Result<Severity, CtlFailure> {
    match print_text(options, &Request::Reload) {
        Err(CtlFailure::Client(ClientError::Refused(error))) if error.kind == ErrorKind::Failed => {
            super::print_failure(&ClientError::Refused(error).into());
            Ok(Severity::Warning)
        }
        result => result,
    }
}

fn print_text(options: &CtlOptions, request: &Request) -> Result<Severity, CtlFailure> {
    ChosenDaemon::find(options)?.show(request, records::result_text)?;
    Ok(Severity::Ok)
}

fn whole(args: &SyncSelectionArgs) -> Selection {
    Selection { sync: args.sync.clone(), path: None }
}
