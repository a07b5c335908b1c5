//! Start, stop and restart.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, getpgid};
use serde_json::json;
use usher_tests::stand_ins::{Gateway, Mail};
use usher_tests::{
    Finished, Folder, Router, TicketConfig, guest, purchases, usher, usher_binary, wait_for,
};

use crate::scene::{Scene, event};

fn run(config: &Path) -> Result<Finished> {
    usher(&[Path::new("run"), Path::new("--config"), config], b"")
}

/// Invariant 1, with SIGKILL.
#[test]
fn what_was_accepted_is_there_after_a_kill() -> Result<()> {
    let scene = Scene::empty()?;
    for n in 0..20 {
        scene.client().publish_new("t", &n.to_string(), &json!({ "n": n }))?;
    }
    let before = scene.client().get_json("/events?max=1000")?;
    scene.router.kill()?;
    let router = Router::start(&scene.folder)?;
    assert_eq!(router.client().get_json("/events?max=1000")?, before);
    let again = router.client().publish(&event("t", "7", &json!({})))?;
    assert_eq!((again.duplicate, again.sequence), (true, 8));
    let next = router.client().publish(&event("t", "new", &json!({})))?;
    assert_eq!(next.sequence, 21);
    router.stop()
}

#[test]
fn sigterm_finishes_what_is_under_way() -> Result<()> {
    let folder = Folder::new()?;
    let gateway = Gateway::start(Duration::ZERO)?;
    let mail = Mail::start(&folder.root().join("mails"))?;
    let config = TicketConfig {
        gateway: gateway.url(),
        mail: mail.url(),
        first_delay: Duration::from_millis(20),
    };
    folder.configure("drain_ms = 30000", &config.tables())?;
    folder.install_plugins(&["payment"])?;
    let mut router = Router::start(&folder)?;
    router.client().wait_for_plugin("payment", "serving")?;

    let purchase = purchases().remove(0).paid_with("tok_held");
    let sequence = router.client().publish(&purchase.event())?.sequence;
    wait_for("the call to the gateway", || Ok(gateway.charges().pop()))?;
    router.terminate()?;
    router.wait_for_log("a word on stopping", |line| {
        line["fields"]["message"].as_str()?.contains("stop").then_some(())
    })?;
    gateway.release();
    let status = router.exited()?;
    assert!(status.success(), "{status}: {}", router.log_tail(20));
    assert_eq!(gateway.charges()[0].calls, 1);

    // It was settled before the stop, so the next start has nothing to redeliver.
    let router = Router::start(&folder)?;
    let flow = router.client().settled_flow(sequence)?;
    assert_eq!(flow["events"][1]["event"]["type"], "ticket.payment.confirmed");
    assert_eq!(gateway.charges()[0].calls, 1);
    router.stop()
}

#[test]
fn a_router_is_out_of_reach_of_ctrl_c_and_dies_with_its_harness() -> Result<()> {
    let folder = Folder::new()?;
    // The thread that starts it stands for the harness.
    let mut router = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let router = Router::start(&folder)?;
            let process = Pid::from_raw(i32::try_from(router.process())?).context("no process")?;
            // Ctrl-C in a terminal signals the harness's process group.
            anyhow::ensure!(getpgid(Some(process))? == process, "it shares the harness's group");
            anyhow::Ok(router)
        });
        started.join().unwrap()
    })?;
    let status = router.exited()?;
    assert_eq!(status.signal(), Some(9), "{status}");
    Ok(())
}

#[test]
fn a_second_router_on_the_same_data_is_refused_by_name() -> Result<()> {
    let scene = Scene::empty()?;
    let (config, data) = (scene.folder.config(), scene.folder.data());
    let address = scene.router.url().trim_start_matches("http://");
    // On a port of its own, and with the very same command: then the address is taken as well, but
    // the folder's error explains more.
    for listen in ["127.0.0.1:0", address] {
        let args = ["run", "--config", config.to_str().unwrap(), "--listen", listen];
        let second = usher(&args, b"")?;
        assert_eq!(second.code, 1, "{listen}: {second:?}");
        for word in [data.to_str().unwrap(), &format!("process {}", scene.router.process())] {
            assert!(second.stderr.contains(word), "{listen}: {word} is not in {second:?}");
        }
    }
    scene.client().publish_new("t", "1", &json!({}))?;
    Ok(())
}

#[test]
fn a_port_in_use_and_a_foreign_address_are_refused() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let folder = Folder::new()?;
    let data = folder.data();
    let (data, plugins) = (data.to_str().unwrap(), folder.plugins());
    let plugins = plugins.to_str().unwrap();
    for (listen, code, says) in [
        (format!("127.0.0.1:{port}"), 1, port.as_str()),
        ("0.0.0.0:0".to_owned(), 2, "plain text"),
        ("192.0.2.1:80".to_owned(), 2, "plain text"),
        ("nonsense".to_owned(), 2, "listen"),
    ] {
        let args = ["run", "--listen", &listen, "--data", data, "--plugins", plugins];
        let finished = usher(&args, b"")?;
        assert_eq!(finished.code, code, "{listen}: {finished:?}");
        assert!(finished.stderr.contains(says), "{listen}: {finished:?}");
    }
    assert!(!folder.data().exists(), "a start that failed left something");
    Ok(())
}

/// A command limited to so many KiB of address space.
fn with_address_space(kib: u64) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kib} && exec \"$0\" \"$@\"")]).arg(usher_binary()?);
    Ok(command)
}

#[test]
fn a_router_takes_the_address_space_that_there_is() -> Result<()> {
    // 39 bits and less, as on small machines.
    for kib in [400_000_000, 100_000_000] {
        let folder = Folder::new()?;
        folder.install_guests(&["echo"])?;
        let mut command = with_address_space(kib)?;
        command.args(["run", "--config"]).arg(folder.config());
        let router = Router::start_command(command, &folder)?;
        router.client().wait_for_plugin("echo", "serving")?;
        let receipt = router.client().publish_new("test.echo", "1", &json!({}))?;
        assert_eq!(
            router.client().settled_flow(receipt.sequence)?["events"][1]["event"]["type"],
            "test.echoed"
        );
        router.stop()?;
        for args in [
            vec!["check".into(), "--config".into(), folder.config()],
            vec!["inspect".into(), guest("echo")?],
        ] {
            let kib = kib / 10;
            let looked = with_address_space(kib)?.args(&args).output()?;
            assert!(looked.status.success(), "{args:?} in {kib} KiB: {looked:?}");
        }
    }
    // Too little to start at all is reported, and leaves nothing behind.
    let folder = Folder::new()?;
    let run =
        with_address_space(10_000_000)?.args(["run", "--config"]).arg(folder.config()).output()?;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("address space") && !folder.data().exists(), "{said}");
    Ok(())
}

#[test]
fn flags_win_over_the_file() -> Result<()> {
    let folder = Folder::new()?;
    let elsewhere = folder.root().join("elsewhere");
    // The file names a free port and the flag one that is taken: it fails only if the flag wins.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let config = folder.config();
    let args = [
        "run",
        "--config",
        config.to_str().unwrap(),
        "--data",
        elsewhere.to_str().unwrap(),
        "--listen",
        &format!("127.0.0.1:{port}"),
    ];
    let finished = usher(&args, b"")?;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains(&port.to_string()), "{finished:?}");
    assert!(!folder.data().exists(), "the file's data folder was used");
    Ok(())
}

#[test]
fn a_data_folder_that_cant_be_used_is_left_as_it_was() -> Result<()> {
    // A file where the folder should be.
    let folder = Folder::new()?;
    fs::write(folder.data(), "mine")?;
    let finished = run(&folder.config())?;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains(folder.data().to_str().unwrap()), "{finished:?}");
    assert_eq!(fs::read_to_string(folder.data())?, "mine");

    // Folders of a newer version, and of something else.
    for (file, content, says) in [
        ("format", "usher 9\n", "format 9"),
        ("format", "something\n", "not a data folder"),
        ("log", "something\n", "not a data folder"),
    ] {
        let folder = Folder::new()?;
        let data = folder.data();
        fs::create_dir(&data)?;
        fs::write(data.join(file), content)?;
        let finished = run(&folder.config())?;
        assert_eq!(finished.code, 1, "{content:?}: {finished:?}");
        for word in [says, data.to_str().unwrap()] {
            assert!(finished.stderr.contains(word), "{content:?}: {word} is not in {finished:?}");
        }
        let names: Vec<_> = fs::read_dir(&data)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()?;
        assert_eq!(names, [file], "{content:?}");
        assert_eq!(fs::read_to_string(data.join(file))?, content);
    }

    // A folder below one that can't be written; root may write anywhere but in /proc.
    let folder = Folder::new()?;
    let locked = folder.root().join("locked");
    fs::create_dir(&locked)?;
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500))?;
    let is_root = fs::write(locked.join("probe"), "").is_ok();
    let data =
        if is_root { Path::new("/proc/usher-test").to_path_buf() } else { locked.join("data") };
    let plugins = folder.plugins();
    let args = [
        Path::new("run"),
        Path::new("--listen"),
        Path::new("127.0.0.1:0"),
        Path::new("--data"),
        &data,
        Path::new("--plugins"),
        &plugins,
    ];
    let finished = usher(&args, b"")?;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains(data.to_str().unwrap()), "{finished:?}");
    Ok(())
}

#[test]
fn a_disk_that_fails_stops_the_router_and_loses_nothing() -> Result<()> {
    const FILE_MAX_BYTES: u32 = 8 * 1_024 * 1_024;
    const PUBLISHED_MAX: u64 = 2_000;

    let folder = Folder::new()?;
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg("trap '' XFSZ; exec \"$0\" \"$@\"")
        .arg(usher_binary()?)
        .args(["run", "--config"])
        .arg(folder.config());
    let mut router = Router::start_command(command, &folder)?;
    // From now on no file may be written beyond the limit, so writes fail as on a broken disk.
    let limited = Command::new("prlimit")
        .args(["--pid", &router.process().to_string(), &format!("--fsize={FILE_MAX_BYTES}")])
        .status()?;
    assert!(limited.success());

    // Incompressible data, so that it takes the same space however it is stored.
    let data = |n: u64| json!({ "n": n, "noise": noise(n, 200_000) });
    let mut acknowledged = Vec::new();
    let refusal = (1..=PUBLISHED_MAX).find_map(|n| {
        let body = event("t", &n.to_string(), &data(n)).to_string();
        let client = router.client();
        match client.post_as("/events", "application/cloudevents+json", body.as_bytes()) {
            Ok(answer) if answer.status == 202 => {
                let sequence = answer.json().unwrap()["events"][0]["sequence"].as_u64().unwrap();
                acknowledged.push((sequence, n));
                None
            }
            refusal => Some(refusal),
        }
    });
    let refusal = refusal.context("the limit was never met")?;
    // The router may exit before it responds; its log has the reason in any case.
    if let Ok(answer) = refusal {
        assert_eq!(answer.status, 503, "{}", answer.text());
        let detail = answer.json()?["detail"].to_string();
        assert!(detail.contains("the store failed"), "{detail}");
    }
    router.wait_for_log("a word on the store", |line| {
        line["fields"]["message"].as_str()?.contains("the store failed").then_some(())
    })?;
    let status = router.exited()?;
    assert_eq!(status.code(), Some(3), "{status}: {}", router.log_tail(20));

    // With space again, everything acknowledged is there, and the log continues where it ended.
    let router = Router::start(&folder)?;
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");
    for (sequence, n) in &acknowledged {
        let stored = router.client().get_json(&format!("/events/{sequence}"))?;
        assert_eq!(stored["event"]["id"], n.to_string());
        assert!(stored["event"]["data"] == data(*n), "the data of {sequence} has changed");
    }
    let last = acknowledged.last().unwrap().0;
    let next = router.client().publish_new("t", "next", &json!({}))?;
    // A refused event may be in the log nevertheless.
    assert!((last + 1..=last + 2).contains(&next.sequence), "{next:?} after {last}");
    router.stop()
}

/// Incompressible letters, deterministic for a seed.
fn noise(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(letters[(state >> 58) as usize])
    };
    (0..len).map(letter).collect()
}

#[test]
fn flags_alone_are_enough() -> Result<()> {
    // Flags only, no usher.toml: as in docs/write-a-plugin.md.
    let folder = Folder::new()?;
    fs::remove_file(folder.config())?;
    let mut command = Command::new(usher_binary()?);
    command
        .args(["run", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"])
        .arg(folder.data())
        .arg("--plugins")
        .arg(folder.plugins());
    let router = Router::start_command(command, &folder)?;
    router.client().publish_new("t", "1", &json!({}))?;
    router.stop()?;
    assert!(folder.data().exists(), "the data went elsewhere");
    Ok(())
}
