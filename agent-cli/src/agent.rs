//! Commands that ask the running agent and print its answer.

use crate::cli::{FlowsOptions, StatusOptions};
use crate::config::Settings;
use crate::failure::Failure;
use crate::{print, render};
use ge_runtime::control::{Answer, Client, Request};
use ge_runtime::exit::Exit;
use ge_runtime::report::{Severity, StatusReport};

/// `status`.
pub(crate) fn status(settings: &Settings, options: &StatusOptions) -> Result<Exit, Failure> {
    let Answer::Status(report) = ask(settings, &Request::Status { details: options.details })?
    else {
        return Err(unexpected());
    };
    if options.json {
        print(&render::json(settings.run.program, "status", &report))?;
    } else {
        print(&render::status(settings.run.program, &report))?;
    }
    Ok(verdict(&report, options.check))
}

/// The exit code a status report stands for.
pub(crate) fn verdict(report: &StatusReport, check: bool) -> Exit {
    if report.agent.is_none() {
        Exit::NotEnrolled
    } else if check && report.health.iter().any(|item| item.severity >= Severity::Warning) {
        Exit::Unhealthy
    } else {
        Exit::Success
    }
}

/// `flows`.
pub(crate) fn flows(settings: &Settings, options: &FlowsOptions) -> Result<Exit, Failure> {
    let FlowsOptions { verdict, would_drop, .. } = *options;
    let Answer::Flows(report) = ask(settings, &Request::Flows { verdict, would_drop })? else {
        return Err(unexpected());
    };
    if options.json {
        print(&render::json(settings.run.program, "flows", &report))
    } else {
        print(&render::flows(&report.flows))
    }
}

/// `metrics`.
pub(crate) fn metrics(settings: &Settings) -> Result<Exit, Failure> {
    let Answer::Metrics { text } = ask(settings, &Request::Metrics {})? else {
        return Err(unexpected());
    };
    print(&text)
}

/// An answer to another question than ours.
pub(crate) fn unexpected() -> Failure {
    let message = "the agent answered another question; is it of another version?";
    Failure::new(Exit::Failure, message)
}

pub(crate) fn ask(settings: &Settings, request: &Request) -> Result<Answer, Failure> {
    Ok(Client::connect(&settings.run.socket)?.ask(request)?)
}
