"use strict";
/* Sends judgements without leaving the page, so that a lost connection loses none of them; keys; copying; the owner's
   page, live. Without this script every form works as a plain form. Texts of pairs are never put together as markup:
   a page that the server rendered, and escaped, replaces the one before. */

const QUIET = 400; // ms after a new page in which no choice is taken: the second click of a double click
const PATIENCE = 15000; // ms until an attempt to send counts as failed
const LONGEST_PAUSE = 20000; // ms between two attempts
const REFRESH = 10000; // ms between two readings of the owner's page
const KEPT = "ethosteer-judgement";
const NO_KEYS = "ethosteer-no-keys";

let shownAt = 0; // of the page that is shown
let seenSince = 0; // since when it has been visible, 0 while it is not
let seen = 0; // ms for which it was visible before
let isSending = false;

const by = (selector) => document.querySelector(selector);

/* ---- what this browser remembers; some browsers forbid it, and then nothing is remembered ---- */

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch { /* not allowed */ }
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/* ---- the time for which a pair is visible ---- */

function countTime() {
  const now = performance.now();
  if (seenSince) seen += now - seenSince;
  seenSince = document.visibilityState === "visible" ? now : 0;
}

/* ---- a new page in the place of the one before ---- */

function begin() {
  shownAt = performance.now();
  seen = 0;
  seenSince = 0;
  countTime();
  document.documentElement.classList.add("with-script");
  const box = by("#use-keys");
  if (box) {
    box.checked = remembered(NO_KEYS) === null;
    box.addEventListener("change", () => remember(NO_KEYS, box.checked ? null : "1"));
  }
  for (const input of document.querySelectorAll("input[data-copy]")) addCopying(input);
  const form = by("#judgement");
  if (!form) return;
  const kept = JSON.parse(remembered(KEPT) || "null");
  remember(KEPT, null);
  if (kept && kept.assignment === form.elements.assignment.value) {
    form.elements.reason.value = kept.reason;
    form.elements.flagged.checked = kept.flagged;
    form.elements.seconds.value = kept.seconds;
    judge(form, form.querySelector(`button[name="choice"][value="${kept.choice}"]`));
  }
}

function replacePage(html, address) {
  const page = new DOMParser().parseFromString(html, "text/html");
  by("header").replaceWith(page.querySelector("header"));
  by("#main").replaceWith(page.querySelector("#main"));
  document.title = page.title;
  history.replaceState(null, "", address);
  window.scrollTo(0, 0);
  (by("#next") || by("h1")).focus({ preventScroll: true });
  begin();
}

/* ---- sending: until it is stored, with what the annotator should know meanwhile ---- */

function say(text) {
  by("#state").textContent = text;
}

function complain(text, retry) {
  const line = document.createElement("p");
  line.textContent = text;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Try now";
  button.addEventListener("click", retry);
  by("#trouble").replaceChildren(line, button);
}

function pause(milliseconds, text) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    }
    addEventListener("online", done);
    complain(text, done);
  });
}

async function sendUntilAnswered(address, fields, kept) {
  for (let attempt = 0; ; attempt += 1) {
    let text = `No connection to the server. ${kept} It is sent again by itself.`;
    let milliseconds = Math.min(LONGEST_PAUSE, 1000 * 2 ** attempt);
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), PATIENCE);
    if (attempt) fields.set("again", "yes");
    try {
      const init = { signal: controller.signal, credentials: "same-origin" };
      const response = fields.get("show")
        ? await fetch(`${address}?${fields}`, init)
        : await fetch(address, { ...init, method: "POST", body: fields });
      const html = await response.text();
      // a network's log-in page may answer instead of the collection
      const isPage = html.includes('<main id="main"');
      if (isPage && response.status < 500 && response.status !== 429) return { response, html };
      if (response.status === 429) {
        text = `The server asks for a pause. ${kept} It is sent again by itself.`;
        milliseconds = 1000 * Number(response.headers.get("retry-after") || 1);
      } else {
        text = `The server could not answer (${response.status}). ${kept} It is sent again by itself.`;
      }
    } catch { /* no connection, or none in time */ } finally {
      clearTimeout(timer);
    }
    say("Not saved yet");
    await pause(milliseconds, text);
    by("#trouble").replaceChildren();
  }
}

async function send(form, fields, kept, done) {
  isSending = true;
  say("Saving …");
  const { response, html } = await sendUntilAnswered(form.getAttribute("action"), fields, kept);
  isSending = false;
  by("#trouble").replaceChildren();
  say(response.ok ? done : "");
  replacePage(html, response.url);
}

function judge(form, button) {
  countTime();
  const fields = new URLSearchParams(new FormData(form));
  const choice = button.value;
  if (!fields.get("seconds")) fields.set("seconds", (seen / 1000).toFixed(1));
  fields.set("choice", choice);
  for (const other of form.querySelectorAll("button[name=choice]")) {
    other.classList.toggle("chosen", other === button);
    other.setAttribute("aria-disabled", "true");
  }
  const judgement = Object.fromEntries(fields);
  remember(KEPT, JSON.stringify({
    choice, assignment: judgement.assignment, reason: judgement.reason || "",
    flagged: "flagged" in judgement, seconds: judgement.seconds,
  }));
  const name = choice === "flag" ? "flag" : `judgement “${button.querySelector(".long").textContent}”`;
  // it is forgotten when the next page is shown, which the server answers only after it is stored
  send(form, fields, `Your ${name} is kept in this browser.`, "Saved");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("sent" in form.dataset)) return;
  event.preventDefault();
  if (isSending || performance.now() - shownAt < QUIET) return;
  if (form.id === "judgement") judge(form, event.submitter);
  else send(form, new URLSearchParams(new FormData(form)), "Nothing is lost.", form.id === "undo" ? "Undone" : "");
});

/* ---- keys ---- */

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=checkbox], [type=radio])");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && by("#flag[open]")) {
    by("#flag").open = false;
    by("#flag summary").focus();
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || isTyping(event.target)) return;
  if (remembered(NO_KEYS) !== null) return;
  const target = by(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!target || target.disabled) return;
  event.preventDefault();
  target.click();
  if (event.key.toLowerCase() === "f" && by("#flag[open]")) by("#reason").focus();
});

document.addEventListener("visibilitychange", countTime);

/* ---- the owner's page: copying a link, and what changes while annotators work ---- */

function addCopying(input) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
    } catch {
      document.execCommand("copy"); // pages without https have no clipboard
    }
    say("Copied");
  });
  input.removeAttribute("data-copy");
  input.after(button);
}

async function refresh() {
  const live = by("#live");
  const isBusy = live && (live.contains(document.activeElement) || String(getSelection()));
  if (!live || isBusy || document.visibilityState !== "visible") return;
  try {
    const response = await fetch("/owner", { credentials: "same-origin" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.querySelector("#live");
    if (next) live.replaceWith(next);
  } catch { /* it is tried again */ }
}

if (document.querySelector("#live")) setInterval(refresh, REFRESH);
begin();
