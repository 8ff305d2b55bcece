//! Rows set in columns, within the room that there is.
//!
//! Where they do not fit, the widest texts are cut first, with an ellipsis; then whole columns are left out, from the
//! right, and it is said which. Where there is no terminal there is no limit, and nothing is cut.

use console::measure_text_width as width;

use super::row::{Cell, Column, Row, Tint, clean};

/// Between two columns.
const GAP: usize = 2;

/// What may be used. `None` is without limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// Characters in a line.
    pub(super) columns: Option<usize>,
    /// Lines; a frame that is longer cannot be drawn over.
    pub(super) lines: Option<usize>,
    /// Whether colours are wanted.
    pub(super) is_coloured: bool,
}

/// A text as lines that fit.
pub(super) fn plain(text: &str, room: &Room) -> String {
    text.lines()
        .map(|line| cut(&clean(line), room.columns) + "\n")
        .collect()
}

/// The lines of `head`, and then the rows below the names of the columns.
pub(super) fn table(head: &str, rows: &[Row], room: &Room) -> String {
    let columns = fitted(rows, room.columns);
    let mut head = head.to_owned();
    let left_out: Vec<&str> = Column::ALL
        .iter()
        .filter(|column| columns.iter().all(|(kept, _)| kept != *column))
        .map(|column| column.name())
        .collect();
    if !left_out.is_empty() {
        head += &format!(
            "\nnot shown for want of width: {}",
            left_out.join(", ").to_lowercase()
        );
    }
    let names = |column: Column| Cell {
        text: column.name().to_owned(),
        tint: Tint::Plain,
    };
    let mut lines: Vec<String> = plain(&head, room).lines().map(str::to_owned).collect();
    lines.push(line(&columns, room, names));
    let taken = lines.len();
    let fit = room.lines.map_or(rows.len(), |all| {
        let free = all.saturating_sub(taken);
        // What is left out takes a line to be told.
        if rows.len() <= free {
            rows.len()
        } else {
            free.saturating_sub(1)
        }
    });
    lines.extend(
        rows.iter()
            .take(fit)
            .map(|row| line(&columns, room, |column| row.cell(column).clone())),
    );
    if fit < rows.len() {
        let more = format!(
            "and {} more; see fewer with --family, --state or --search",
            rows.len() - fit
        );
        lines.push(cut(&more, room.columns));
    }
    lines.join("\n") + "\n"
}

fn line(columns: &[(Column, usize)], room: &Room, cell: impl Fn(Column) -> Cell) -> String {
    let mut line = String::new();
    for (place, (column, wide)) in columns.iter().enumerate() {
        let Cell { text, tint } = cell(*column);
        let text = cut(&text, Some(*wide));
        let space = " ".repeat(wide - width(&text));
        let text = if room.is_coloured {
            coloured(&text, tint)
        } else {
            text
        };
        if place > 0 {
            line += &" ".repeat(GAP);
        }
        line += &if column.is_number() {
            space + &text
        } else {
            text + &space
        };
    }
    line.truncate(line.trim_end().len());
    line
}

/// The columns that fit, and how wide each is.
fn fitted(rows: &[Row], available: Option<usize>) -> Vec<(Column, usize)> {
    let widest = |column: Column| {
        let cells = rows.iter().map(|row| width(&row.cell(column).text));
        cells.max().unwrap_or(0).max(width(column.name()))
    };
    let mut columns: Vec<(Column, usize)> = Column::ALL
        .into_iter()
        .map(|column| (column, widest(column)))
        .collect();
    let Some(available) = available else {
        return columns;
    };
    let needed = |columns: &[(Column, usize)]| {
        let texts: usize = columns.iter().map(|(_, wide)| wide).sum();
        texts + GAP * columns.len().saturating_sub(1)
    };
    let smallest = |columns: &[(Column, usize)]| {
        let least = |(column, wide): &(Column, usize)| {
            let wide = column.least().map_or(*wide, |least| least.min(*wide));
            (*column, wide)
        };
        needed(&columns.iter().map(least).collect::<Vec<_>>())
    };
    while columns.len() > 1 && smallest(&columns) > available {
        columns.pop();
    }
    while needed(&columns) > available {
        let cuttable = columns
            .iter_mut()
            .filter(|(column, wide)| column.least().is_some_and(|least| *wide > least))
            .max_by_key(|(_, wide)| *wide);
        match cuttable {
            Some((_, wide)) => *wide -= 1,
            // A single column on a very narrow terminal.
            None => {
                columns[0].1 = available;
                break;
            }
        }
    }
    columns
}

/// At most `most` columns of a text, with an ellipsis for what is not there.
fn cut(text: &str, most: Option<usize>) -> String {
    match most {
        Some(most) if width(text) > most => {
            let mut kept = String::new();
            for character in text.chars() {
                kept.push(character);
                if width(&kept) + 1 > most {
                    kept.pop();
                    break;
                }
            }
            if most > 0 {
                kept.push('…');
            }
            kept
        }
        _ => text.to_owned(),
    }
}

fn coloured(text: &str, tint: Tint) -> String {
    let code = match tint {
        Tint::Plain => return text.to_owned(),
        Tint::Good => 32,
        Tint::Warning => 33,
        Tint::Bad => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::deployment;
    use super::*;

    fn rows(names: &[&str]) -> Vec<Row> {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        names
            .iter()
            .map(|name| Row::of(&deployment(name), now))
            .collect()
    }

    const LONG: &str = "a-name-that-goes-on-and-on-and-on-until-no-terminal-has-room-for-it";

    #[test]
    fn in_a_pipe_nothing_is_cut_and_nothing_is_coloured() {
        let text = table(
            "2 deployments",
            &rows(&[LONG, "東京-qwen"]),
            &Room::default(),
        );
        assert!(text.contains(LONG) && text.contains("590.12") && !text.contains('\x1b'));
        // The second column begins at one place.
        let at = |line: &str, word: &str| width(line.split(word).next().unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(at(lines[1], "STATE"), at(lines[3], "ok"), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn on_a_terminal_every_line_fits() {
        let rows = rows(&[LONG, "東京東京東京東京東京東京東京東京東京東京-qwen"]);
        for columns in 1..260 {
            let room = Room {
                columns: Some(columns),
                lines: Some(24),
                is_coloured: true,
            };
            let text = table("2 deployments, all well", &rows, &room);
            for line in text.lines() {
                let line = strip(line);
                assert!(width(&line) <= columns, "{columns}: {line}");
            }
        }
        let narrow = table(
            "2 deployments",
            &rows,
            &Room {
                columns: Some(80),
                ..Room::default()
            },
        );
        assert!(narrow.contains("not shown for want of width: "), "{narrow}");
        assert!(narrow.contains('…'), "{narrow}");
    }

    fn strip(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text += part.split_once('m').unwrap().1;
        }
        text
    }

    #[test]
    fn colours_are_never_the_only_sign() {
        let rows = rows(&["a"]);
        let plain = table("h", &rows, &Room::default());
        let coloured = table(
            "h",
            &rows,
            &Room {
                is_coloured: true,
                ..Room::default()
            },
        );
        let without: Vec<String> = coloured.lines().map(strip).collect();
        assert_ne!(plain, coloured);
        assert_eq!(plain.lines().collect::<Vec<_>>(), without);
    }

    #[test]
    fn what_has_no_line_is_counted() {
        let rows = rows(&["a", "b", "c", "d"]);
        let room = Room {
            lines: Some(5),
            ..Room::default()
        };
        let text = table("h", &rows, &room);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.ends_with("and 2 more; see fewer with --family, --state or --search\n"));
    }

    #[test]
    fn a_cut_text_ends_in_an_ellipsis_and_is_not_too_wide() {
        assert_eq!(cut("abcdef", Some(4)), "abc…");
        assert_eq!(cut("abcd", Some(4)), "abcd");
        assert_eq!(cut("東京都", Some(4)), "東…");
        assert_eq!(cut("東京都", Some(1)), "…");
        assert_eq!(cut("東", Some(0)), "");
    }
}
