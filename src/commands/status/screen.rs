//! Standard output as `status` sees it: a terminal on which each frame takes the place of the one before, or a pipe into
//! which one follows the other.

use std::env;
use std::io::{ErrorKind, IsTerminal, Write, stdout};

use console::Term;

use super::layout::Room;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_ALL: &str = "\x1b[2J\x1b[H";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Where frames go. The cursor is restored when it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    is_coloured: bool,
    /// The size when the last frame was shown, and its lines.
    last: Option<(Option<(u16, u16)>, usize)>,
}

impl Screen {
    /// What standard output is.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            is_coloured: is_terminal && !is_dumb && !is_set("NO_COLOR"),
            last: None,
        }
    }

    /// One on which frames follow each other, whatever standard output is.
    pub(super) fn pipe() -> Self {
        Self {
            is_terminal: false,
            is_coloured: false,
            last: None,
        }
    }

    fn size(&self) -> Option<(u16, u16)> {
        self.is_terminal
            .then(|| Term::stdout().size_checked())
            .flatten()
            .filter(|(rows, columns)| *rows > 0 && *columns > 0)
    }

    /// What a frame may take.
    pub(super) fn room(&self) -> Room {
        let size = self.size();
        Room {
            columns: size.map(|(_, columns)| columns.into()),
            // One line is the cursor's.
            lines: size.map(|(rows, _)| usize::from(rows).saturating_sub(1)),
            is_coloured: self.is_coloured,
        }
    }

    /// Shows a frame, in one write. Whether anyone can have seen it: a pipe may be closed.
    pub(super) fn show(&mut self, frame: &str) -> Result<bool, String> {
        let size = self.size();
        let text = if self.is_terminal {
            let text = over(frame, self.last.filter(|(before, _)| *before == size));
            let moved = self.last.is_some_and(|(before, _)| before != size);
            // Lines that were wrapped anew are no more where they were.
            if moved {
                format!("{CLEAR_ALL}{text}")
            } else {
                text
            }
        } else if self.last.is_some() && !frame.is_empty() {
            format!("\n{frame}")
        } else {
            frame.to_owned()
        };
        self.last = Some((size, frame.lines().count()));
        let mut stdout = stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(format!("standard output: {error}")),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal && self.last.is_some() {
            restore();
        }
    }
}

/// Shows the cursor of a terminal again.
pub(super) fn restore() {
    let stdout = stdout();
    if stdout.is_terminal() {
        let mut stdout = stdout.lock();
        let _ = stdout.write_all(SHOW_CURSOR.as_bytes());
        let _ = stdout.flush();
    }
}

/// What puts `frame` over the `last` one: nothing is blank meanwhile.
fn over(frame: &str, last: Option<(Option<(u16, u16)>, usize)>) -> String {
    let mut text = HIDE_CURSOR.to_owned();
    if let Some((_, lines)) = last.filter(|(_, lines)| *lines > 0) {
        text += &format!("\x1b[{lines}A\r");
    }
    for line in frame.lines() {
        text += line;
        text += CLEAR_TO_END_OF_LINE;
        text.push('\n');
    }
    text + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        assert_eq!(over("a\nb\n", None), "\x1b[?25la\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(
            over("c\n", Some((None, 2))),
            "\x1b[?25l\x1b[2A\rc\x1b[K\n\x1b[J"
        );
    }
}
