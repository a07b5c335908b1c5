//! Access tokens, from the command line and through restarts.

use std::fs;

use anyhow::Result;
use serde_json::json;
use usher_tests::{Folder, Router, usher, usher_with, wait_for};

use crate::scene::{Scene, event, new_token, usher_as};

#[test]
fn tokens_close_the_router_and_open_it_by_scope() -> Result<()> {
    let Scene { router, folder } = Scene::empty()?;
    let early = usher_as(&router, "", &["tokens", "new", "shop", "--scope", "publish"])?;
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("scope admin"), "{early:?}");

    let admin = new_token(&router, "", "ops", &["admin"])?;
    let shop = new_token(&router, &admin, "shop", &["publish:ticket."])?;
    let without = usher_as(&router, "", &["plugins"])?;
    assert_eq!((without.code, without.stdout.as_str()), (1, ""), "{without:?}");
    assert!(without.stderr.contains("USHER_TOKEN"), "{without:?}");

    let publish = |ty: &str| {
        let args = ["publish", "--type", ty, "--source", "/shop", "--id", "1"];
        usher_as(&router, &shop, &args)
    };
    assert_eq!(publish("ticket.purchased")?.code, 0);
    let refused = publish("order.placed")?;
    assert!(refused.code == 1 && refused.stderr.contains("ticket."), "{refused:?}");
    let reading = usher_as(&router, &shop, &["tail"])?;
    assert!(reading.code == 1 && reading.stderr.contains("lacks the scope read"), "{reading:?}");

    let file = folder.root().join("admin-token");
    fs::write(&file, format!("{admin}\n"))?;
    let path = file.to_str().unwrap();
    let listed =
        usher(&["tokens", "list", "--json", "--token-file", path, "--url", router.url()], b"")?;
    let listed = listed.json()?;
    assert_eq!(listed["tokens"][1]["name"], "shop");
    assert_eq!(listed["tokens"][1]["scopes"], json!(["publish:ticket."]));
    assert!(listed["tokens"][1]["last_used"].is_string(), "{listed}");

    // A crash forgets nothing.
    router.kill()?;
    let router = Router::start(&folder)?;
    assert_eq!(usher_as(&router, &shop, &["tail"])?.code, 1);
    let revoked = usher_as(&router, &admin, &["tokens", "revoke", "shop"])?;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let args = ["publish", "--type", "ticket.x", "--source", "/shop"];
    let gone = usher_as(&router, &shop, &args)?;
    assert!(gone.code == 1 && gone.stderr.contains("revoked"), "{gone:?}");

    let audit = usher_as(&router, &admin, &["audit", "--json"])?.json()?;
    let records = audit["records"].as_array().unwrap();
    let who: Vec<_> = records
        .iter()
        .map(|record| (record["actor"].as_str(), record["action"].as_str()))
        .collect();
    let by = |actor, action| (Some(actor), Some(action));
    let expected =
        [by("local", "create_token"), by("ops", "create_token"), by("ops", "revoke_token")];
    assert_eq!(who, expected);
    for secret in [&admin, &shop] {
        assert!(!router.log_tail(10_000).contains(secret.as_str()));
    }
    Ok(())
}

#[test]
fn tokens_of_the_configuration_come_and_go_with_it() -> Result<()> {
    let hashed = usher(&["tokens", "hash", "--json"], b"")?.json()?;
    let (secret, hash) = (hashed["secret"].as_str().unwrap(), hashed["hash"].as_str().unwrap());
    let table = format!("[token.ops]\nhash = {hash:?}\nscopes = [\"admin\"]\n");
    let folder = Folder::with_config("", &table)?;
    let router = Router::start(&folder)?;
    assert_eq!(router.client().get("/plugins")?.status, 401);
    assert_eq!(router.client().get("/healthz")?.status, 200);
    let plugins = usher_as(&router, secret, &["plugins"])?;
    assert_eq!(plugins.code, 0, "{plugins:?}");
    let refused = usher_as(&router, secret, &["tokens", "revoke", "ops"])?;
    assert!(refused.code == 1 && refused.stderr.contains("configuration"), "{refused:?}");

    // Another hash in its place: the old secret is refused, without a restart.
    let other = usher(&["tokens", "hash", "--json"], b"")?.json()?;
    let hash = other["hash"].as_str().unwrap();
    folder.configure("", &format!("[token.ops]\nhash = {hash:?}\nscopes = [\"admin\"]\n"))?;
    let other = other["secret"].as_str().unwrap();
    wait_for("the new secret to be accepted", || {
        Ok((usher_as(&router, other, &["plugins"])?.code == 0).then_some(()))
    })?;
    assert_eq!(usher_as(&router, secret, &["plugins"])?.code, 1);

    // One that is not a hash: refused, without showing what may be the secret.
    folder.configure("", &format!("[token.ops]\nhash = {other:?}\nscopes = [\"admin\"]\n"))?;
    let config = folder.config();
    let checked = usher(&["check", "--config", config.to_str().unwrap()], b"")?;
    assert!(checked.code == 2 && checked.stderr.contains("not the secret itself"), "{checked:?}");
    assert!(!checked.stderr.contains(other), "{checked:?}");
    Ok(())
}

/// A token that was revoked since would be valid again.
#[test]
fn a_backup_brings_no_tokens_back() -> Result<()> {
    let scene = Scene::empty()?;
    let admin = new_token(&scene.router, "", "ops", &["admin"])?;
    let restored = Folder::new()?;
    let (copy, url) = (restored.data(), scene.router.url());
    let copy = copy.to_str().unwrap();
    let made =
        usher_with(&["store", "backup", copy, "--url", url], b"", &[("USHER_TOKEN", &admin)])?;
    assert_eq!(made.code, 0, "{made:?}");
    // Nor to other nodes.
    let nowhere =
        "[journal]\nengine = \"jetstream\"\nservers = [\"nats://127.0.0.1:1\"]\nnode = \"a\"\n";
    restored.configure("", nowhere)?;
    let config = restored.config();
    let config = config.to_str().unwrap();
    let moved = usher(&["journal", "copy", "embedded", "jetstream", "--config", config], b"")?;
    assert!(moved.code == 1 && moved.stderr.contains("is a backup"), "{moved:?}");
    restored.configure("", "")?;
    for _ in 0..2 {
        let router = Router::start(&restored)?;
        let listed = usher_as(&router, "", &["tokens", "list"])?;
        assert!(listed.stdout.contains("no tokens"), "{listed:?}");
        router.kill()?;
    }
    Ok(())
}

/// An earlier version had tokens in a file of the data folder.
#[test]
fn a_damaged_file_of_tokens_opens_nothing() -> Result<()> {
    let Scene { router, folder } = Scene::empty()?;
    router.stop()?;
    fs::write(folder.data().join("tokens.json"), "{\"v\": 1, \"tokens\": [")?;
    let error = format!("{:#}", Router::start(&folder).unwrap_err());
    assert!(error.contains("tokens.json"), "{error}");
    Ok(())
}

#[test]
fn an_open_router_stays_easy() -> Result<()> {
    let scene = Scene::empty()?;
    // A token in the environment, meant for another router, does no harm.
    let args = ["publish", "--type", "t", "--source", "/s", "--url", scene.router.url()];
    let published = usher_with(&args, b"", &[("USHER_TOKEN", "usher_of_another_router")])?;
    assert_eq!(published.code, 0, "{published:?}");
    scene.client().publish(&event("t", "1", &json!(1)))?;
    assert_eq!(scene.usher(&["tokens", "list"], "").stdout.lines().count(), 1);
    Ok(())
}
