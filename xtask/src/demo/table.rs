//! The live table: one row for each claim, redrawn in place on a terminal, printed line by line
//! everywhere else.

use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Column where the figures begin.
const FIGURES: usize = 56;
/// A terminal is redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(80);

enum State {
    Waiting,
    Running(String),
    Passed(String),
    Failed(String),
}

struct Row {
    claim: &'static str,
    state: State,
}

/// Rows in the order of the story.
pub(crate) struct Table {
    rows: Vec<Row>,
    current: usize,
    terminal: bool,
    colour: bool,
    drawn: Instant,
}

impl Table {
    pub(crate) fn new(claims: impl Iterator<Item = &'static str>) -> Self {
        let rows: Vec<Row> = claims.map(|claim| Row { claim, state: State::Waiting }).collect();
        let terminal = std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        let table = Self { rows, current: 0, terminal, colour, drawn: Instant::now() };
        if terminal {
            for row in &table.rows {
                println!("{}", table.line(row));
            }
        }
        table
    }

    /// The next claim is being shown.
    pub(crate) fn begin(&mut self) {
        self.rows[self.current].state = State::Running(String::new());
        self.redraw();
    }

    /// What happens right now, for whoever watches.
    pub(crate) fn note(&mut self, text: &str) {
        self.rows[self.current].state = State::Running(text.to_owned());
        if self.drawn.elapsed() >= REDRAW {
            self.redraw();
        }
    }

    /// The claim was shown, with its figures, or was not.
    pub(crate) fn end(&mut self, outcome: Result<String>) {
        self.rows[self.current].state = match outcome {
            Ok(figures) => State::Passed(figures),
            Err(error) => State::Failed(format!("{error:#}")),
        };
        if self.terminal {
            self.redraw();
        } else {
            println!("{}", self.line(&self.rows[self.current]));
        }
        self.current += 1;
    }

    /// Claims that do not hold.
    pub(crate) fn failed(&self) -> usize {
        self.rows.iter().filter(|row| !matches!(row.state, State::Passed(_))).count()
    }

    /// Reasons of failed claims in full; a row of the terminal has room for their beginning only.
    pub(crate) fn reasons(&self) -> String {
        let failed = self.rows.iter().filter_map(|row| match &row.state {
            State::Failed(reason) if self.terminal => Some(format!("{}:\n  {reason}\n", row.claim)),
            _ => None,
        });
        failed.collect()
    }

    fn redraw(&mut self) {
        if !self.terminal {
            return;
        }
        let mut text = format!("\x1b[{}A", self.rows.len());
        for row in &self.rows {
            text += &format!("\r\x1b[2K{}\n", self.line(row));
        }
        let mut out = std::io::stdout().lock();
        // A terminal that went away takes the demo with it soon enough.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.drawn = Instant::now();
    }

    fn line(&self, row: &Row) -> String {
        let (colour, mark, text) = match &row.state {
            State::Waiting => ("2", "    ", ""),
            State::Running(text) => ("33", " .. ", text.as_str()),
            State::Passed(text) => ("32", "PASS", text.as_str()),
            State::Failed(text) => ("31", "FAIL", text.as_str()),
        };
        let claim = row.claim;
        let mark = if self.colour { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.into() };
        if !self.terminal {
            return format!("{mark}  {claim:<FIGURES$}  {text}").trim_end().to_owned();
        }
        // A row that wraps would break redrawing in place.
        let room = width().saturating_sub(6 + FIGURES + 2);
        let one_line = text.replace('\n', " ");
        let fitting: String = one_line.chars().take(room).collect();
        format!("{mark}  {claim:<FIGURES$}  {fitting}")
    }
}

/// Columns of the terminal.
fn width() -> usize {
    const DEFAULT: usize = 120;
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.or_else(e2e::programs::terminal_width).unwrap_or(DEFAULT)
}
