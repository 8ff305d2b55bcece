//! `completions` and `man`: what a shell and a pager know of the command line, made from its own definition.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

/// What the `completions` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober completions bash > /etc/bash_completion.d/vllm-prober"
)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// What the `man` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vllm-prober man | man -l -\n  vllm-prober man --out /usr/local/share/man/man1"
)]
pub struct ManArgs {
    /// Where to write a page for each command; without it the first one goes to standard output
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

/// Writes the completions of `command` to standard output.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    exit("completions", io::stdout().write_all(&script))
}

/// Writes the manual pages of `command`.
pub fn man(args: &ManArgs, command: Command) -> ExitCode {
    // `help` of every command is `--help` once more, and no page is written for it.
    let command = command.disable_help_subcommand(true);
    let written = match &args.out {
        Some(directory) => pages(command, directory),
        None => clap_mangen::Man::new(command).render(&mut io::stdout()),
    };
    exit("man", written)
}

fn pages(command: Command, directory: &Path) -> io::Result<()> {
    let place = |error| io::Error::other(format!("--out {}: {error}", directory.display()));
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .map_err(place)
}

fn exit(command: &str, written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vllm-prober {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
