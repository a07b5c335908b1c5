//! Where the router listens: several addresses, TLS, a Unix socket, and who is kept out.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use usher_tests::{Finished, Folder, Router, usher, usher_with, wait_for};

use crate::scene::Scene;

/// Writes a certificate for `host` that is its own root, and its key.
fn certify(folder: &Path, host: &str) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()])?;
    fs::write(folder.join("router.key.new"), made.signing_key.serialize_pem())?;
    fs::write(folder.join("router.pem.new"), made.cert.pem())?;
    fs::rename(folder.join("router.key.new"), folder.join("router.key"))?;
    Ok(fs::rename(folder.join("router.pem.new"), folder.join("router.pem"))?)
}

const TLS: &str = "[tls]\ncertificate_file = \"router.pem\"\nkey_file = \"router.key\"\n";

/// A folder whose router listens at these places, with a token for everything.
fn folder(listen: &str, tables: &str) -> Result<(Folder, String)> {
    let folder = Folder::new()?;
    certify(folder.root(), "localhost")?;
    let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
    let token = format!("[token.ops]\nhash = {}\nscopes = [\"admin\"]\n", hashed["hash"]);
    folder.configure("", &format!("{tables}{token}"))?;
    let text = fs::read_to_string(folder.config())?;
    fs::write(folder.config(), text.replace("listen = \"127.0.0.1:0\"", listen))?;
    Ok((folder, hashed["secret"].as_str().unwrap().to_owned()))
}

/// The place in the log that starts with this.
fn listening(router: &Router, start: &str) -> Result<String> {
    router.wait_for_log(start, |line: &Value| {
        let url = line["fields"]["url"].as_str()?;
        url.starts_with(start).then(|| url.to_owned())
    })
}

fn plugins(url: &str, token: &str, ca: Option<&Path>) -> Result<Finished> {
    let mut args = vec!["plugins", "--url", url];
    args.extend(ca.iter().flat_map(|ca| ["--ca-file", ca.to_str().unwrap()]));
    usher_with(&args, b"", &[("USHER_TOKEN", token)])
}

#[test]
fn one_router_listens_at_several_places() -> Result<()> {
    let places = "listen = [\"http://127.0.0.1:0\", \"https://127.0.0.1:0\", \"unix:run.sock\"]";
    let (folder, token) = folder(places, TLS)?;
    let router = Router::start(&folder)?;
    let secure = listening(&router, "https://")?.replace("127.0.0.1", "localhost");
    let (plain, socket) = (listening(&router, "http://")?, listening(&router, "unix:")?);
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

    let (plain, _) = folder("listen = \"0.0.0.0:0\"", "")?;
    let refused = run(&plain)?;
    assert!(refused.code == 2 && refused.stderr.contains("plain text"), "{refused:?}");

    let (off, token) = folder("listen = \"0.0.0.0:0\"\ntls = \"off\"", "")?;
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
    let (folder, token) = folder("listen = [\"127.0.0.1:0\"]", TLS)?;
    let started = usher_tests::Router::start_unready(&folder)?;
    let url = listening(&started, "https://")?.replace("127.0.0.1", "localhost");
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

    certify(folder.root(), "localhost")?;
    let new = folder.root().join("router.pem");
    wait_for("the new certificate", || {
        Ok((plugins(&url, &token, Some(&new))?.code == 0).then_some(()))
    })?;
    assert_eq!(plugins(&url, &token, Some(&old))?.code, 1);
    Ok(())
}

#[test]
fn a_certificate_that_can_not_be_used_ends_the_start() -> Result<()> {
    let (folder, _) = folder("listen = \"127.0.0.1:0\"", TLS)?;
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
    let (folder, _) = folder(&format!("listen = {taken:?}"), "")?;
    let refused = usher(&["run", "--config", folder.config().to_str().unwrap()], b"")?;
    assert!(refused.code == 1 && refused.stderr.contains(&taken), "{refused:?}");
    Ok(())
}
