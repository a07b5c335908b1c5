//! Parent side: starts the child, sends the component, reads its code, and kills it at its time
//! limit.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join3;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until};

use super::child::EXIT_INVALID;
use super::{CompileBudget, CompileError, QUICK_CPU_MS};
use crate::limits::CODE_MAX_BYTES;
use crate::tier::Tier;
use crate::{nice, text};

/// Maximum threads per compilation: each reserves memory.
const THREADS_MAX: usize = 4;
/// How long a quick attempt runs at normal priority: enough for a typical plugin, whose author is
/// waiting. After that its niceness is raised.
const EAGER: Duration = Duration::from_millis(250);
/// Interval at which a child's CPU time is checked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Wall-clock limit of a quick attempt, so that one starved of CPU doesn't hold up others.
const QUICK_WALL_MAX: Duration = Duration::from_secs(10);
/// Signals that a child doesn't cause itself: SIGHUP, SIGINT, SIGKILL, SIGTERM.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];
/// How much of the child's stderr is read.
const WORDS_MAX_BYTES: u64 = 2 * 1024;
/// In the message of a Rust program that aborts because an allocation failed.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// A child process that compiles one component and exits.
#[derive(Clone, Debug)]
pub struct CompilerProcess {
    /// The executable, ideally that of this process. Must be of the same build, because its output
    /// is run as native code.
    pub program: PathBuf,
    /// Its arguments. The memory limit in bytes and the [`Tier`] are appended; the program must call
    /// [`compile_as_child`](super::compile_as_child) with them and do nothing else.
    pub args: Vec<OsString>,
    /// Memory limit of the compilation.
    pub memory_bytes: u64,
    /// CPU time limit of the compilation.
    pub cpu_ms: u64,
    /// Wall-clock limit of the compilation, for a machine too busy to give it CPU time.
    pub wall_ms: u64,
}

/// Output and status of a child that exited.
struct Ended {
    status: ExitStatus,
    code: Vec<u8>,
    words: Vec<u8>,
}

impl CompilerProcess {
    pub(super) async fn compile(
        &self,
        component: &[u8],
        attempt: CompileBudget,
        tier: Tier,
    ) -> Result<Vec<u8>, CompileError> {
        let mut child = self.start(tier).map_err(|error| {
            CompileError::NotRun(format!("{}: {error}", self.program.display()))
        })?;
        let id = child.id();
        let deadline = Instant::now() + Duration::from_millis(self.wall_ms);
        let (cpu_ms, eager, niceness, quick_until) = match attempt {
            CompileBudget::Quick => {
                let cpu_ms = self.cpu_ms.min(QUICK_CPU_MS);
                (cpu_ms, EAGER, nice::NICER, Instant::now() + QUICK_WALL_MAX)
            }
            CompileBudget::Patient => (self.cpu_ms, Duration::ZERO, nice::NICEST, deadline),
        };
        let stopped = {
            let mut talk = pin!(talk(&mut child, component));
            let mut eager = pin!(sleep(eager));
            let mut is_eager = true;
            loop {
                tokio::select! {
                    biased;
                    ended = &mut talk => {
                        let not_run = |error: std::io::Error| CompileError::NotRun(error.to_string());
                        return self.judge(ended.map_err(not_run)?);
                    }
                    () = &mut eager, if is_eager => {
                        is_eager = false;
                        id.into_iter().for_each(|id| nice::process_group(id, niceness));
                    }
                    () = sleep_until((Instant::now() + LOOK_EVERY).min(deadline)) => {}
                }
                let used_ms = id.and_then(used_ms);
                if used_ms.is_some_and(|used_ms| used_ms >= cpu_ms) {
                    break match cpu_ms < self.cpu_ms {
                        true => CompileError::NotQuick,
                        false => CompileError::TooSlow { cpu_ms },
                    };
                }
                if quick_until < deadline && Instant::now() >= quick_until {
                    break CompileError::NotQuick;
                }
                if Instant::now() >= deadline {
                    let cpu_ms = used_ms.unwrap_or_default();
                    break CompileError::Starved { wall_ms: self.wall_ms, cpu_ms };
                }
            }
        };
        // Also reaps the child, so that it is gone when the next one starts.
        let _ = child.kill().await;
        Err(stopped)
    }

    fn start(&self, tier: Tier) -> std::io::Result<Child> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Command::new(&self.program)
            .args(&self.args)
            .arg(self.memory_bytes.to_string())
            .arg(tier.as_str())
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.min(THREADS_MAX).to_string())
            .current_dir("/")
            // Own process group: Ctrl-C at a terminal reaches only the router, and niceness can be
            // set for all of the child's threads.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn judge(&self, ended: Ended) -> Result<Vec<u8>, CompileError> {
        let Ended { status, code, words } = ended;
        if code.len() > CODE_MAX_BYTES {
            return Err(CompileError::TooMuchCode { limit_bytes: CODE_MAX_BYTES });
        }
        if status.success() {
            return Ok(code);
        }
        // Not the component's fault: stopped together with the router, or chosen by the OOM killer.
        if status.signal().is_some_and(|signal| FROM_OUTSIDE.contains(&signal)) {
            return Err(CompileError::NotRun(format!("it was ended from outside ({status})")));
        }
        let words = String::from_utf8_lossy(&words);
        let words = text::escape(words.trim()).into_owned();
        if status.code() == Some(EXIT_INVALID.into()) {
            return Err(CompileError::invalid(&words));
        }
        if words.contains(OUT_OF_MEMORY) {
            return Err(CompileError::TooLarge { memory_bytes: self.memory_bytes });
        }
        Err(CompileError::Failed { how: status.to_string(), words })
    }
}

/// CPU time that a process has used; `None` without procfs.
fn used_ms(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().ok()?;
    Some(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

/// Writes the component and reads both outputs concurrently, since any of the pipes may fill up.
async fn talk(child: &mut Child, component: &[u8]) -> std::io::Result<Ended> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(std::io::Error::other("the compiler has no pipes"));
    };
    let (mut code, mut words) = (Vec::new(), Vec::new());
    let give = async {
        // A child that exits early doesn't read to the end; its status says why.
        let _ = stdin.write_all(component).await;
        drop(stdin);
    };
    let mut code_pipe = stdout.take(CODE_MAX_BYTES as u64 + 1);
    let mut words_pipe = stderr.take(WORDS_MAX_BYTES);
    let ((), code_read, words_read) = join3(
        give,
        // A child that writes more than is read gets a closed pipe, and exits.
        async { (code_pipe.read_to_end(&mut code).await, drop(code_pipe)).0 },
        async { (words_pipe.read_to_end(&mut words).await, drop(words_pipe)).0 },
    )
    .await;
    code_read?;
    words_read?;
    let status = child.wait().await?;
    Ok(Ended { status, code, words })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str, cpu_ms: u64, wall_ms: u64) -> CompilerProcess {
        let (program, args) = ("/bin/sh".into(), vec!["-c".into(), script.into()]);
        CompilerProcess { program, args, memory_bytes: 1 << 30, cpu_ms, wall_ms }
    }

    const LONG: u64 = 600_000;

    #[tokio::test]
    async fn a_child_that_takes_long_leaves_the_processor_to_others() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let script = "while [ \"$(nice)\" = NICE ]; do :; done; nice";
        let script = script.replace("NICE", &before.to_string());
        for (attempt, nicer) in
            [(CompileBudget::Quick, nice::NICER), (CompileBudget::Patient, nice::NICEST)]
        {
            let code = shell(&script, LONG, LONG).compile(b"", attempt, Tier::Optimised).await;
            let code = match code {
                // On a busy machine the loop alone may exceed the time of a quick attempt.
                Err(CompileError::NotQuick) => continue,
                code => code.unwrap(),
            };
            let expected = (before + nicer).min(19);
            assert_eq!(String::from_utf8(code).unwrap().trim(), expected.to_string());
        }
    }

    #[tokio::test]
    async fn who_had_no_processor_is_not_blamed_for_being_slow() {
        let waiting = shell("read -r line; exec sleep 1000", LONG, 300);
        for attempt in [CompileBudget::Quick, CompileBudget::Patient] {
            let waiting = waiting.compile(b"", attempt, Tier::Optimised).await;
            let Err(CompileError::Starved { wall_ms: 300, cpu_ms }) = waiting else {
                panic!("{waiting:?}")
            };
            assert!(cpu_ms < 150, "{cpu_ms}");
        }
    }

    #[test]
    fn code_may_be_as_large_as_the_limit() {
        let judge = |bytes: usize| {
            // Untouched zero pages take no memory.
            let code = vec![0; bytes];
            let ended = Ended { status: ExitStatus::from_raw(0), code, words: Vec::new() };
            shell("", 1, 1).judge(ended).map(|code| code.len())
        };
        for bytes in [CODE_MAX_BYTES - 1, CODE_MAX_BYTES] {
            assert_eq!(judge(bytes), Ok(bytes));
        }
        let error = CompileError::TooMuchCode { limit_bytes: CODE_MAX_BYTES };
        assert_eq!(judge(CODE_MAX_BYTES + 1), Err(error));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_and_what_does_not_is_taken() {
        let quick = shell("cat >/dev/null; printf code", LONG, LONG);
        let quick = quick.compile(b"component", CompileBudget::Quick, Tier::Optimised).await;
        assert_eq!(quick.as_deref(), Ok(&b"code"[..]));
        let endless = |cpu_ms| shell("while :; do :; done", cpu_ms, LONG);
        for attempt in [CompileBudget::Quick, CompileBudget::Patient] {
            let ended = endless(50).compile(b"component", attempt, Tier::Optimised).await;
            assert_eq!(ended, Err(CompileError::TooSlow { cpu_ms: 50 }), "{attempt:?}");
        }
        let ended =
            endless(LONG).compile(b"component", CompileBudget::Quick, Tier::Optimised).await;
        assert_eq!(ended, Err(CompileError::NotQuick));
    }

    #[tokio::test]
    async fn a_child_is_told_how_much_memory_it_has_and_what_to_do() {
        let told = shell("cat >/dev/null; printf '%s %s' \"$0\" \"$1\"", LONG, LONG);
        let told = told.compile(b"component", CompileBudget::Quick, Tier::Optimised).await;
        assert_eq!(told.as_deref(), Ok(&b"1073741824 optimised"[..]));
    }
}
