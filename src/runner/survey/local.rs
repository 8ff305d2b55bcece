//! What is to be found on this machine: a file, the output of a command, or NVIDIA's management library.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nvml_wrapper::Nvml;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Answer;
use crate::environment::{EnvironmentField, EnvironmentSource, Finding};

/// The most bytes of a file or an output that are read.
const MOST_BYTES: u64 = 64 << 10;

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a file with a `field: value` in each line.
pub(super) async fn read_file(path: &Path) -> Answer {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(said)?;
    let mut text = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut text)
        .await
        .map_err(said)?;
    fields(&text, EnvironmentSource::File).map_err(|why| format!("{}: {why}", path.display()))
}

/// Runs a command whose output has a `field: value` in each line. It is killed when it takes too long.
pub(super) async fn run_command(command: &[String]) -> Answer {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let said = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(said)?;
    let output = child.stdout.take().ok_or("its output is not to be had")?;
    let run = async {
        let mut text = Vec::new();
        output
            .take(MOST_BYTES)
            .read_to_end(&mut text)
            .await
            .map_err(said)?;
        let status = child.wait().await.map_err(said)?;
        if status.success() {
            Ok(text)
        } else {
            Err(format!("{program}: {status}"))
        }
    };
    let text = timeout(COMMAND_TIMEOUT, run)
        .await
        .map_err(|_| format!("{program} took longer than {} s", COMMAND_TIMEOUT.as_secs()))??;
    fields(&text, EnvironmentSource::Command).map_err(|why| format!("{program}: {why}"))
}

/// Lines of `field: value` or `field=value`; empty ones and comments are passed over.
fn fields(text: &[u8], source: EnvironmentSource) -> Answer {
    let text = String::from_utf8_lossy(text);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut findings = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once([':', '='])
            .ok_or_else(|| format!("`{line}` is not `field: value`"))?;
        let name = name.trim();
        let field = EnvironmentField::named(name)
            .ok_or_else(|| format!("`{name}` is no field of an environment"))?;
        findings.extend(Finding::new(field, value.trim().trim_matches('"'), source));
    }
    Ok(findings)
}

/// Asks NVIDIA's management library for one GPU of this machine. The library is loaded now: there is none on a
/// machine without a driver.
pub(super) async fn ask_nvml(index: u32) -> Answer {
    spawn_blocking(move || {
        let said = |error: nvml_wrapper::error::NvmlError| {
            format!("NVIDIA's management library (libnvidia-ml.so) on this machine: {error}")
        };
        let nvml = Nvml::init().map_err(said)?;
        let device = nvml.device_by_index(index).map_err(said)?;
        let cuda = nvml.sys_cuda_driver_version().map_err(said)?;
        let cuda = format!(
            "{}.{}",
            nvml_wrapper::cuda_driver_version_major(cuda),
            nvml_wrapper::cuda_driver_version_minor(cuda)
        );
        let told = [
            (EnvironmentField::Gpu, device.name().map_err(said)?),
            (
                EnvironmentField::Driver,
                nvml.sys_driver_version().map_err(said)?,
            ),
            (EnvironmentField::Cuda, cuda),
        ];
        let findings = told
            .into_iter()
            .filter_map(|(field, value)| Finding::new(field, value, EnvironmentSource::Nvml));
        Ok(findings.collect())
    })
    .await
    .map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_file_and_a_command_say_the_same_in_the_same_words() {
        let text = "# from the node\ndriver: 580.95.05\ngpu = \"NVIDIA H100\"\n\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("environment");
        std::fs::write(&path, text).unwrap();
        let values = |answer: Answer| -> Vec<String> {
            answer
                .unwrap()
                .into_iter()
                .map(|finding| finding.value)
                .collect()
        };
        let expected = ["580.95.05", "NVIDIA H100"];
        assert_eq!(values(read_file(&path).await), expected);
        let command = shell(&format!("cat {}", path.display()));
        assert_eq!(values(run_command(&command).await), expected);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said() {
        for (script, words) in [
            ("echo drivr: 580", "`drivr` is no field"),
            ("echo 580", "is not `field: value`"),
            ("exit 3", "exit status: 3"),
        ] {
            let why = run_command(&shell(script)).await.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let nowhere = run_command(&["/no/such/program".to_owned()]).await;
        assert!(nowhere.unwrap_err().contains("/no/such/program"));
        assert!(read_file(Path::new("/no/such/file")).await.is_err());
    }

    #[tokio::test]
    async fn without_a_driver_the_library_is_missed_in_words() {
        // A machine with an NVIDIA driver has another answer, and no error.
        if let Err(why) = ask_nvml(0).await {
            assert!(why.contains("libnvidia-ml.so"), "{why}");
        }
    }
}
