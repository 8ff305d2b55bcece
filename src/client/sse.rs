//! Bytes in, events out: the stream format of server-sent events, without a socket in sight.
//!
//! Exact to the WHATWG text (HTML, §9.2.6 "Interpreting an event stream"): lines end in LF, CRLF or CR,
//! a blank line dispatches, lines that start with a colon are comments, several `data` lines are joined
//! by LF, one leading byte order mark is skipped, and what is not closed by a blank line at the end of
//! the stream is dropped. Bytes may be cut anywhere, in the middle of a character too, since nothing
//! here needs to be UTF-8.
//!
//! An event that lies whole in one chunk, as vLLM sends them, is handed on without being copied.

use std::ops::Range;

use memchr::memchr2;

/// The largest event that is accepted. vLLM's are a few hundred bytes.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge;

/// Splits a stream of bytes into the data of its events.
#[derive(Debug, Default)]
pub struct EventDecoder {
    /// The unfinished last line of the chunks so far.
    line: Vec<u8>,
    /// The data lines of the unfinished event, joined by LF, when they had to be kept.
    data: Vec<u8>,
    /// Whether `data` holds a data line (which may be empty).
    has_data: bool,
    /// Whether the last byte was a CR, so that an LF next belongs to the same line end.
    after_cr: bool,
    /// Whether the stream's first line is behind us, and with it the place for a byte order mark.
    begun: bool,
}

impl EventDecoder {
    /// Takes the next chunk and calls `event` with the data of each event that it completes.
    ///
    /// # Errors
    /// [`EventTooLarge`] when a line or an event outgrows its bound; nothing may be fed after that.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut event: impl FnMut(&[u8]),
    ) -> Result<(), EventTooLarge> {
        // The one data line seen since the last blank line, when it lies in this chunk.
        let mut here: Option<Range<usize>> = None;
        let mut at = 0;
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            at = usize::from(chunk[0] == b'\n');
        }
        while let Some(length) = memchr2(b'\n', b'\r', &chunk[at..]) {
            let end = at + length;
            if self.line.is_empty() {
                self.take_line(chunk, at..end, &mut here, &mut event)?;
            } else {
                self.grow_line(&chunk[at..end])?;
                let line = std::mem::take(&mut self.line);
                let mut whole = None;
                self.take_line(&line, 0..line.len(), &mut whole, &mut event)?;
                self.keep(&line, &mut whole)?;
                // Its buffer serves the next line that is cut.
                self.line = line;
                self.line.clear();
            }
            at = end + 1;
            if chunk[end] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
        }
        self.keep(chunk, &mut here)?;
        self.grow_line(&chunk[at..])
    }

    /// Interprets one whole line, `source[line]`. A first data line is left where it is, in `here`.
    fn take_line(
        &mut self,
        source: &[u8],
        line: Range<usize>,
        here: &mut Option<Range<usize>>,
        event: &mut impl FnMut(&[u8]),
    ) -> Result<(), EventTooLarge> {
        let mut text = &source[line.clone()];
        if !self.begun {
            self.begun = true;
            text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(source, here, event);
            return Ok(());
        }
        let Some(value) = data_value(text) else {
            return Ok(());
        };
        if value.len() > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        let value = line.end - value.len()..line.end;
        if self.has_data || here.is_some() {
            self.keep(source, here)?;
            self.append(&source[value])
        } else {
            *here = Some(value);
            Ok(())
        }
    }

    /// Ends the event at hand. One whose data is empty is not an event.
    fn dispatch(
        &mut self,
        source: &[u8],
        here: &mut Option<Range<usize>>,
        event: &mut impl FnMut(&[u8]),
    ) {
        if let Some(value) = here.take() {
            if !value.is_empty() {
                event(&source[value]);
            }
        } else if self.has_data {
            self.has_data = false;
            if !self.data.is_empty() {
                event(&self.data);
            }
            self.data.clear();
        }
    }

    /// Copies a data line that was left in place, since its chunk is about to go.
    fn keep(
        &mut self,
        source: &[u8],
        here: &mut Option<Range<usize>>,
    ) -> Result<(), EventTooLarge> {
        here.take()
            .map_or(Ok(()), |value| self.append(&source[value]))
    }

    fn append(&mut self, value: &[u8]) -> Result<(), EventTooLarge> {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        if self.data.len() + value.len() > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn grow_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

/// The value of a `data` field; `None` for comments and all other fields.
fn data_value(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = EventDecoder::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            decoder
                .feed(chunk, |data| {
                    seen.push(String::from_utf8_lossy(data).into_owned());
                })
                .unwrap();
        }
        seen
    }

    #[test]
    fn the_format_is_read_as_the_standard_says() {
        for (what, stream, expected) in [
            ("LF", "data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", vec!["a", "b"]),
            ("CR", "data: a\r\rdata: b\r\r", vec!["a", "b"]),
            (
                "line ends mixed",
                "data: a\r\ndata: b\n\rdata: c\r\n\n",
                vec!["a\nb", "c"],
            ),
            (
                "several data lines are one event",
                "data: a\ndata: b\ndata\ndata:c\n\n",
                vec!["a\nb\n\nc"],
            ),
            (
                "one space after the colon goes, the second stays",
                "data:  a\n\n",
                vec![" a"],
            ),
            ("no space after the colon", "data:a\n\n", vec!["a"]),
            (
                "a comment is not an event",
                ": keep-alive\n\ndata: a\n\n",
                vec!["a"],
            ),
            (
                "a comment between data lines does not end the event",
                "data: a\n: x\ndata: b\n\n",
                vec!["a\nb"],
            ),
            (
                "other fields are passed over",
                "event: e\nid: 1\nretry: 9\ndata: a\n\n",
                vec!["a"],
            ),
            (
                "a field that only begins like data",
                "database: x\n\ndata: a\n\n",
                vec!["a"],
            ),
            (
                "an event without data is none",
                "event: e\n\ndata\n\ndata:\n\ndata: a\n\n",
                vec!["a"],
            ),
            (
                "two empty data lines are data",
                "data\ndata\n\n",
                vec!["\n"],
            ),
            (
                "a byte order mark is skipped once",
                "\u{feff}data: a\n\n\u{feff}data: b\n\n",
                vec!["a"],
            ),
            (
                "an event that no blank line ends is dropped",
                "data: a\n\ndata: b\n",
                vec!["a"],
            ),
            (
                "an unfinished line is dropped",
                "data: a\n\ndata: b",
                vec!["a"],
            ),
            ("blank lines alone", "\n\n\r\r\n", vec![]),
        ] {
            assert_eq!(events(&[stream.as_bytes()]), expected, "{what}");
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(events(&bytes), expected, "{what}, a byte at a time");
        }
    }

    #[test]
    fn an_event_beyond_its_bound_is_refused_and_memory_stays_flat() {
        let filler = vec![b'x'; 64 << 10];
        for opening in ["data: ", ": ", "data: a\ndata: "] {
            let mut decoder = EventDecoder::default();
            decoder.feed(opening.as_bytes(), |_| {}).unwrap();
            let refused = (0..64).find_map(|_| decoder.feed(&filler, |_| {}).err());
            assert_eq!(refused, Some(EventTooLarge), "{opening:?}");
            assert!(decoder.line.capacity() + decoder.data.capacity() < 4 * MAX_EVENT_BYTES);
        }
        let mut many_lines = EventDecoder::default();
        let refused = (0..64).find_map(|_| {
            many_lines.feed(b"data: ", |_| {}).unwrap();
            many_lines.feed(&filler, |_| {}).unwrap();
            many_lines.feed(b"\n", |_| {}).err()
        });
        assert_eq!(refused, Some(EventTooLarge), "many data lines");
    }

    proptest! {
        /// However a stream is cut, it reads the same.
        #[test]
        fn cuts_do_not_matter(
            lines in prop::collection::vec("(data: ?|: |event: |)[a-zé\u{1F600}]{0,6}", 0..30),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 30),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let stream: String = lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(events(&chunks), events(&[bytes]));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let mut decoder = EventDecoder::default();
            for chunk in chunks {
                let _ = decoder.feed(&chunk, |_| {});
            }
        }
    }
}
