//! Where the router listens: several addresses, TLS, a Unix socket, and who is kept out.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Result;
use usher_tests::{Finished, Folder, Router, usher, usher_with, wait_for};

use crate::scene::Scene;

fn plugins(url: &str, token: &str, ca: Option<&Path>) -> Result<Finished> {
    let mut args = vec!["plugins", "--url", url];
    args.extend(ca.iter().flat_map(|ca| ["--ca-file", ca.to_str().unwrap()]));
    usher_with(&args, b"", &[("USHER_TOKEN", token)])
}

#[test]
fn one_router_listens_at_several_places() -> Result<()> {
    let places = "listen = [\"http://127.0.0.1:0\", \"https://127.0.0.1:0\", \"unix:run.sock\"]";
    let (folder, token) = Folder::closed(places, Folder::TLS)?;
    let router = Router::start(&folder)?;
    let secure = router.listening("https://")?.replace("127.0.0.1", "localhost");
    let (plain, socket) = (router.listening("http://")?, router.listening("unix:")?);
    let ca = folder.root().join("router.pem");
    for (url, ca) in [(&plain, None), (&secure, Some(ca.as_path())), (&socket, None)] {
        let listed = plugins(url, &token, ca)?;
        assert_eq!(listed.code, 0, "{url}: {listed:?}");
        let refused = plugins(url, "", ca)?;
        assert!(refused.code == 1 && refused.stderr.contains("token"), "{url}: {refused:?}");
    }
    let unverified = plugins(&secure, &token, None)?;
    assert!(unverified.code == 1 && !unverified.stderr.contains(&token), "{unverified:?}");

    let path = folder.root().join("run.sock");
    let metadata = fs::metadata(&path)?;
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let gone = plugins("unix:/no/such.sock", &token, None)?;
    assert!(gone.stderr.contains("no such socket"), "{gone:?}");
    // One that a crash leaves behind is no obstacle; one that is in use is.
    router.kill()?;
    assert!(path.exists());
    let router = Router::start(&folder)?;
    assert_eq!(plugins(&socket, &token, None)?.code, 0);
    let second = Folder::new()?;
    let text = format!(
        "listen = {socket:?}\ndata = {:?}\nplugins = {:?}\n",
        second.data(),
        second.plugins()
    );
    fs::write(second.config(), text)?;
    let refused = usher(&["run", "--config", second.config().to_str().unwrap()], b"")?;
    assert!(refused.code == 1 && refused.stderr.contains("can't listen on unix:"), "{refused:?}");
    router.stop()?;
    assert!(!path.exists());
    Ok(())
}

#[test]
fn others_are_served_with_tokens_and_tls_only() -> Result<()> {
    let bare = Folder::with_config("tls = \"off\"", "")?;
    let text = fs::read_to_string(bare.config())?;
    fs::write(bare.config(), text.replace("127.0.0.1:0", "0.0.0.0:0"))?;
    let run = |folder: &Folder| usher(&["run", "--config", folder.config().to_str().unwrap()], b"");
    let refused = run(&bare)?;
    assert!(refused.code == 1 && refused.stderr.contains("usher tokens new"), "{refused:?}");

    let (plain, _) = Folder::closed("listen = \"0.0.0.0:0\"", "")?;
    let refused = run(&plain)?;
    assert!(refused.code == 2 && refused.stderr.contains("plain text"), "{refused:?}");

    let (off, token) = Folder::closed("listen = \"0.0.0.0:0\"\ntls = \"off\"", "")?;
    let router = Router::start(&off)?;
    router.wait_for_log("a warning", |line| {
        let message = line["fields"]["message"].as_str()?;
        (line["level"] == "WARN" && message.contains("in plain text")).then_some(())
    })?;
    let url = router.url().replace("0.0.0.0", "127.0.0.1");
    assert_eq!(plugins(&url, &token, None)?.code, 0);
    Ok(())
}

#[test]
fn certificates_change_under_way_and_broken_ones_do_not_count() -> Result<()> {
    let (folder, token) = Folder::closed("listen = [\"127.0.0.1:0\"]", Folder::TLS)?;
    let started = usher_tests::Router::start_unready(&folder)?;
    let url = started.listening("https://")?.replace("127.0.0.1", "localhost");
    let old = folder.root().join("old.pem");
    fs::copy(folder.root().join("router.pem"), &old)?;
    assert_eq!(plugins(&url, &token, Some(&old))?.code, 0);

    let plain = plugins(&url.replace("https://", "http://"), &token, None)?;
    assert!(plain.code == 1 && plain.stderr.contains("use https://"), "{plain:?}");

    fs::write(folder.root().join("router.key"), "broken")?;
    started.wait_for_log("a refusal", |line| {
        let message = line["fields"]["message"].as_str()?;
        message.contains("the old one stays").then_some(())
    })?;
    assert_eq!(plugins(&url, &token, Some(&old))?.code, 0);

    folder.certify("localhost")?;
    let new = folder.root().join("router.pem");
    wait_for("the new certificate", || {
        Ok((plugins(&url, &token, Some(&new))?.code == 0).then_some(()))
    })?;
    assert_eq!(plugins(&url, &token, Some(&old))?.code, 1);
    Ok(())
}

#[test]
fn a_certificate_that_can_not_be_used_ends_the_start() -> Result<()> {
    let (folder, _) = Folder::closed("listen = \"127.0.0.1:0\"", Folder::TLS)?;
    fs::remove_file(folder.root().join("router.key"))?;
    let refused = usher(&["run", "--config", folder.config().to_str().unwrap()], b"")?;
    assert!(refused.code == 1 && refused.stderr.contains("router.key"), "{refused:?}");
    assert!(!folder.data().exists(), "nothing was made");
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_named() -> Result<()> {
    let scene = Scene::empty()?;
    let taken = scene.router.url().to_owned();
    let (folder, _) = Folder::closed(&format!("listen = {taken:?}"), "")?;
    let refused = usher(&["run", "--config", folder.config().to_str().unwrap()], b"")?;
    assert!(refused.code == 1 && refused.stderr.contains(&taken), "{refused:?}");
    Ok(())
}
