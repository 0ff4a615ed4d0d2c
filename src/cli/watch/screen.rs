//! Lines on a terminal, drawn over again in place.

use std::io::{self, Write as _};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As usual.
    Plain,
    /// It changed.
    Bold,
    /// It must not be overlooked.
    Alarm,
}

/// A line to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Line {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::Plain,
        }
    }
}

/// Where lines are drawn: standard output.
#[derive(Debug)]
pub(super) struct Screen {
    drawn: usize,
    styled: bool,
}

/// Lines and columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) lines: usize,
    pub(super) columns: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            drawn: 0,
            styled: std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// How large the terminal is now; 24 lines of 80 where it does not say.
    pub(super) fn size() -> Size {
        let (lines, columns) =
            rustix::termios::tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_row, size.ws_col));
        let or = |told: u16, usual| if told == 0 { usual } else { usize::from(told) };
        Size {
            lines: or(lines, 24),
            columns: or(columns, 80),
        }
    }

    /// Draws the lines over those drawn before, each cut at the right border.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let columns = Self::size().columns;
        let mut text = self.back();
        for line in lines {
            // Whatever a text holds, it moves no cursor.
            let shown = line
                .text
                .chars()
                .filter(|shown| !shown.is_control())
                .take(columns);
            let shown: String = shown.collect();
            let (on, off) = match line.style {
                Style::Bold if self.styled => ("\x1b[1m", "\x1b[0m"),
                Style::Alarm if self.styled => ("\x1b[1;7;31m", "\x1b[0m"),
                Style::Plain | Style::Bold | Style::Alarm => ("", ""),
            };
            // Cleared first: clearing behind a line that ends at the border would take its last character.
            text.push_str("\x1b[2K");
            text.push_str(on);
            text.push_str(&shown);
            text.push_str(off);
            text.push('\n');
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        write(&text)
    }

    /// Takes away what was drawn, so that something else can be written in its place.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        let mut text = self.back();
        text.push_str("\x1b[J");
        self.drawn = 0;
        write(&text)
    }

    /// Back to the first line that was drawn.
    fn back(&self) -> String {
        match self.drawn {
            0 => "\r".to_owned(),
            drawn => format!("\r\x1b[{drawn}A"),
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
