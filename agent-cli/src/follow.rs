//! `flows --follow`: changes as they happen, a line each, until interrupted.

use crate::cli::FlowsOptions;
use crate::config::Settings;
use crate::failure::Failure;
use crate::{print, render};
use ge_runtime::control::Client;
use ge_runtime::exit::Exit;
use std::ops::ControlFlow;

/// Runs the command. SIGINT and SIGTERM are how it is meant to end.
pub(crate) fn run(settings: &Settings, options: &FlowsOptions) -> Result<Exit, Failure> {
    let program = settings.run.program;
    let client = Client::connect(&settings.run.socket)?;
    let mut failed = None;
    client.follow(options.verdict, |change| {
        let line = if options.json {
            render::json_line(program, "flow-change", change)
        } else {
            render::explain::change(change)
        };
        match print(&line) {
            Ok(Exit::Success) => ControlFlow::Continue(()),
            Ok(_) => ControlFlow::Break(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(Exit::Success), Err)
}
