//! The program itself as a child process, ended by its id and in order.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio::time::Instant;

/// Runs vllm-prober to its end: its exit status, standard output and standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let status = output.status.code().expect("an exit status");
    (status, text(output.stdout), text(output.stderr))
}

/// A running program whose log is read.
pub(crate) struct Program {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts vllm-prober with `arguments`.
    pub(crate) fn prober(arguments: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_vllm-prober")).args(arguments))
    }

    /// Starts `serve` with the configuration at `path` on a free port, and says where it listens.
    pub(crate) fn serve(path: &Path) -> (Self, String) {
        Self::serve_by(&mut Command::new("env"), path, &[])
    }

    /// The same with further arguments.
    pub(crate) fn serve_with(path: &Path, arguments: &[&str]) -> (Self, String) {
        Self::serve_by(&mut Command::new("env"), path, arguments)
    }

    /// The same, started by a command that takes a program and its arguments.
    pub(crate) fn serve_by(
        command: &mut Command,
        path: &Path,
        arguments: &[&str],
    ) -> (Self, String) {
        let storage = path.with_file_name("data");
        let [path, storage] = [path, &storage].map(|path| path.to_str().expect("a UTF-8 path"));
        command.args([
            env!("CARGO_BIN_EXE_vllm-prober"),
            "serve",
            "--config.file",
            path,
            "--web.listen-address",
            "127.0.0.1:0",
            "--storage.path",
            storage,
        ]);
        let mut program = Self::start(command.args(arguments));
        // In either form of the log.
        let line = program.line("listening", Duration::from_secs(10));
        let line = line.replace("\"address\":\"", "address=");
        let address = line
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split([' ', '"']).next());
        let base_url = format!("http://{}", address.expect("the log says where it listens"));
        (program, base_url)
    }

    /// Starts any program; its log is what it writes to standard error.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_on(command, Stdio::null())
    }

    /// The same with something to read from.
    pub(crate) fn start_on(command: &mut Command, stdin: impl Into<Stdio>) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self {
            child,
            log,
            seen: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn line(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?}; the log:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Ends it without a chance to do anything more, and says what it had logged.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        self.seen.extend(self.log.iter());
        std::mem::take(&mut self.seen)
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self, patience: Duration) -> (ExitStatus, Vec<String>) {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(
            told.is_ok_and(|status| status.success()),
            "SIGTERM could not be sent"
        );
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.seen.extend(self.log.iter());
                return (status, std::mem::take(&mut self.seen));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end within {patience:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
