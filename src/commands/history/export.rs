//! `history export`: runs for other programs, in pieces, so that the largest history fits through.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Selection, reader};
use crate::history::{Order, Page, Reader, StoredRun};
use crate::report::csv;

/// Runs that are read at once. In between the daemon's file is left alone.
const PIECE: u32 = 500;

/// What `history export` is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober history export --deployment qwen3-32b-nvfp4 --format csv --out runs.csv"
)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    selection: Selection,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Add every single request that is still kept (JSON Lines only)
    #[arg(long)]
    save_detailed: bool,
    /// Where to; - is standard output
    #[arg(long, default_value = "-", value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The JSON of `run --out`, one run a line
    Jsonl,
    /// The figures, one run a row
    Csv,
}

impl ExportArgs {
    pub(super) async fn run(self, storage: &Path) -> Result<(), String> {
        if self.save_detailed && self.format == Format::Csv {
            return Err(
                "--save-detailed: a row of CSV has no place for requests; use --format jsonl"
                    .to_owned(),
            );
        }
        let mut reader = reader(storage).await?;
        let is_stdout = self.out.as_os_str() == "-";
        let mut out: Box<dyn Write> = if is_stdout {
            Box::new(BufWriter::new(std::io::stdout().lock()))
        } else {
            let file = File::create(&self.out)
                .map_err(|error| format!("--out {}: {error}", self.out.display()))?;
            Box::new(BufWriter::new(file))
        };
        match self.write(&mut reader, &mut out).await {
            // Whoever reads has had enough.
            Err(Failure::Out(error)) if is_stdout && error.kind() == ErrorKind::BrokenPipe => {
                Ok(())
            }
            Err(Failure::Out(error)) => Err(format!("--out {}: {error}", self.out.display())),
            Err(Failure::History(message)) => Err(message),
            Ok(()) => Ok(()),
        }
    }

    async fn write(&self, reader: &mut Reader, out: &mut dyn Write) -> Result<(), Failure> {
        if self.format == Format::Csv {
            out.write_all(csv::header().as_bytes())?;
        }
        let mut page = Page {
            deployment: self.selection.deployment.clone(),
            workload: self.selection.workload.clone(),
            order: Order::OldestFirst,
            after: None,
            limit: PIECE,
        };
        loop {
            let runs = reader.page(&page).await.map_err(Failure::history)?;
            for run in &runs {
                let text = self.text(reader, run).await?;
                out.write_all(text.as_bytes())?;
            }
            match runs.last() {
                Some(last) => page.after = Some(last.id.clone()),
                None => return Ok(out.flush()?),
            }
        }
    }

    async fn text(&self, reader: &mut Reader, stored: &StoredRun) -> Result<String, Failure> {
        let unreadable = |error| Failure::History(format!("run {}: {error}", stored.id));
        if self.format == Format::Csv {
            return Ok(csv::row(&stored.read().map_err(unreadable)?));
        }
        if !self.save_detailed {
            return Ok(format!("{}\n", stored.json));
        }
        let whole = reader.run(&stored.id).await.map_err(Failure::history)?;
        let run = whole
            .as_ref()
            .unwrap_or(stored)
            .read()
            .map_err(unreadable)?;
        let json =
            serde_json::to_string(&run).map_err(|error| Failure::History(error.to_string()))?;
        Ok(json + "\n")
    }
}

/// Which side failed.
enum Failure {
    History(String),
    Out(std::io::Error),
}

impl Failure {
    fn history(error: crate::history::HistoryError) -> Self {
        Self::History(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Out(error)
    }
}
