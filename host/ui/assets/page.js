// What the page does by itself: it keeps a screen up to date, and turns forms into requests to the
// API. Text from outside only ever becomes text: HTML comes from the router, which escapes it.
"use strict";

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const actor = document.body.dataset.actor;

/** Tells the viewer what came of an action. */
function tell(words, isFailure) {
  notice.textContent = words;
  notice.className = isFailure ? "failed" : "";
  notice.hidden = false;
}

/**
 * Sends a request to the API. It names who the page was made for: if another tab has logged in as
 * somebody else, the router refuses it. Pages elsewhere can't send this header.
 */
async function request(method, path, type, body) {
  const headers = { "usher-actor": actor };
  if (type) headers["content-type"] = type;
  const response = await fetch(path, { method, headers, body });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const failure = new Error(answer.detail || `the router answered ${response.status}`);
  failure.status = response.status;
  failure.retryAfter = Number(response.headers.get("retry-after")) || 1;
  throw failure;
}

/** Makes `from` like `to`; leaves alone what the viewer types in, and what they opened. */
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (from.matches("[data-busy]")) return;
  const typing = document.activeElement.matches("input, textarea");
  if (typing && from.matches("form") && from.contains(document.activeElement)) return;
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && name !== "open") from.setAttribute(name, value);
  }
  const wanted = [...to.childNodes];
  const present = [...from.childNodes];
  wanted.forEach((child, place) => {
    if (place < present.length) morph(present[place], child);
    else from.append(child);
  });
  present.slice(wanted.length).forEach((child) => child.remove());
}

function show(html) {
  const wanted = document.createElement("main");
  for (const { name, value } of main.attributes) wanted.setAttribute(name, value);
  wanted.innerHTML = html;
  morph(main, wanted);
}

/** Reads the screen once more, or leaves it if what it shows is gone. */
async function refresh() {
  const response = await fetch(location.href, { headers: { "usher-actor": actor } });
  if (response.status === 404) {
    const gone = main.querySelector("[data-gone]");
    if (gone) location.href = gone.dataset.gone;
    return;
  }
  const read = new DOMParser().parseFromString(await response.text(), "text/html");
  if (read.body.dataset.actor !== actor) location.reload();
  else show(read.getElementById("main").innerHTML);
}

// Live screens. Browsers open few connections to one router, so that only the tab that is looked
// at has one.
let live = null;

function follow() {
  const path = main && main.dataset.live;
  if (!path) return;
  if (document.hidden) {
    if (live) live.close();
    live = null;
  } else if (!live) {
    live = new EventSource(path);
    live.addEventListener("viewer", (event) => {
      if (event.data !== actor) location.reload();
    });
    live.addEventListener("message", (event) => show(event.data));
    live.addEventListener("error", () => {
      if (live && live.readyState === EventSource.CLOSED) {
        tell("This screen is no longer updated: reload it.", true);
      }
    });
  }
}

document.addEventListener("visibilitychange", follow);
window.addEventListener("pagehide", () => live && live.close());
follow();

/** The number behind an answer's event, if it has one. */
function sequenceOf(answer) {
  return answer.events ? answer.events[0].sequence : answer.sequence;
}

async function act(form) {
  if (form.dataset.question && !confirm(form.dataset.question)) return;
  const button = form.querySelector("button");
  const idle = () => {
    button.disabled = false;
    delete form.dataset.busy;
  };
  button.disabled = true;
  form.dataset.busy = "";
  try {
    const [type, body] = form.matches("#publish") ? eventOf(form) : edited(form);
    const answer = await request("POST", form.getAttribute("action"), type, body);
    const sequence = sequenceOf(answer);
    if (form.dataset.to && sequence) {
      location.href = form.dataset.to + sequence;
      return;
    }
    tell(`${button.textContent}: done.`);
    idle();
    await refresh();
  } catch (failure) {
    tell(failure.message, true);
  } finally {
    idle();
  }
}

function edited(form) {
  const text = form.elements.namedItem("body");
  return text ? [form.dataset.type, text.value] : [undefined, undefined];
}

/** The form's event as JSON; its data goes in as it was typed, so that no number is rounded. */
function eventOf(form) {
  const field = (name) => form.elements.namedItem(name).value;
  const event = { specversion: "1.0", id: field("id") || randomId() };
  for (const name of ["type", "source", "subject", "datacontenttype"]) {
    if (field(name)) event[name] = field(name);
  }
  for (const line of field("extensions").split("\n").filter((line) => line.trim())) {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`extensions: ${line}: write NAME=VALUE`);
    event[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  const type = "application/cloudevents+json";
  const data = field("data");
  if (!data.trim()) {
    delete event.datacontenttype;
    return [type, JSON.stringify(event)];
  }
  if (!/[/+]json\s*(;|$)/i.test(event.datacontenttype || "application/json")) {
    return [type, JSON.stringify({ ...event, data })];
  }
  try {
    JSON.parse(data);
  } catch (error) {
    throw new Error(`data: ${error.message}`);
  }
  return [type, `${JSON.stringify(event).slice(0, -1)},"data":${data}}`];
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

document.addEventListener("submit", (event) => {
  if (event.target.matches(".action, #publish")) {
    event.preventDefault();
    act(event.target);
  }
});

// Everything that matches: page after page, a few at a time, until the end or until it is stopped.
const AT_ONCE = 8;
const PAGE = 48;

async function bulk(box, button) {
  if (button.dataset.question && !confirm(button.dataset.question)) return;
  const output = box.querySelector("output");
  const stop = box.querySelector("[data-stop]");
  const buttons = box.querySelectorAll("[data-verb]");
  let isStopped = false;
  let done = 0;
  let failed = 0;
  let reason = "";
  const count = () => {
    const others = failed ? `, ${failed} failed: ${reason}` : "";
    output.textContent = `${done} of ${box.dataset.count} done${others}`;
  };
  const one = async (id) => {
    for (;;) {
      try {
        await request("POST", `api/dead-letters/${id}/${button.dataset.verb}`);
        done += 1;
        break;
      } catch (failure) {
        if (failure.status === 429 && !isStopped) {
          await new Promise((resume) => setTimeout(resume, failure.retryAfter * 1000));
          continue;
        }
        failed += 1;
        reason = failure.message;
        break;
      }
    }
    count();
  };
  stop.onclick = () => {
    isStopped = true;
  };
  stop.hidden = false;
  box.dataset.busy = "";
  buttons.forEach((each) => (each.disabled = true));
  count();
  try {
    // What is redriven may fail again, as a dead letter with a higher id.
    let newest = null;
    let after = null;
    do {
      const address = new URL(box.dataset.list, location.href);
      address.searchParams.set("max", PAGE);
      if (after !== null) address.searchParams.set("after", after);
      const page = await request("GET", address);
      newest = newest ?? page.last;
      const ids = page.dead_letters.map((dead) => dead.id).filter((id) => id <= newest);
      while (ids.length && !isStopped) await Promise.all(ids.splice(0, AT_ONCE).map(one));
      after = page.next;
    } while (after !== null && after < newest && !isStopped);
    output.textContent += isStopped ? "; stopped" : "; finished";
  } catch (failure) {
    output.textContent += `; ended: ${failure.message}`;
  }
  stop.hidden = true;
  delete box.dataset.busy;
  const outcome = output.textContent;
  await refresh();
  tell(`${button.textContent}: ${outcome}.`, failed > 0);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-verb]");
  if (button) bulk(button.closest(".bulk"), button);
});
