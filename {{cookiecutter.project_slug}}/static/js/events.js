// Live events of the account: list them, and update parts of the page. Without scripts or
// WebSockets, the page stays as it was loaded.

const SILENCE = 60_000; // milliseconds without a message or heartbeat until the connection is lost
const LONGEST = 30_000; // milliseconds between two attempts to connect
const SHOWN = 20; // events
const TOO_MANY = 4429; // the code with which the oldest of too many sockets is closed

const panel = document.getElementById("live");
const list = document.getElementById("events");
const shown = new WeakMap(); // the text of parts of the page, as the server sent it
let socket;
let attempts = 0;
let retry; // the timer of the next attempt
let silence; // the timer that detects a lost connection
let update; // the timer of the next refresh
let endReason = ""; // why the session ended
let finished = false;

function connect() {
  disconnect();
  showState(attempts ? "reconnecting" : "connecting");
  const address = new URL("/ws/events/", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.onmessage = ({ data }) => handle(JSON.parse(data));
  socket.onclose = ({ code }) => (code === TOO_MANY ? waitForFocus() : retryLater());
  restartTimer();
}

function disconnect() {
  clearTimeout(silence);
  clearTimeout(retry);
  removeEventListener("focus", reconnect);
  if (!socket) return;
  const old = socket;
  socket = undefined;
  old.onmessage = old.onclose = null; // a lost connection may close minutes later
  if (old.readyState === WebSocket.CONNECTING) old.onopen = () => old.close();
  else old.close();
}

/** Wait for the next message, at most `SILENCE`. */
function restartTimer() {
  clearTimeout(silence);
  silence = setTimeout(retryLater, SILENCE);
}

function handle(event) {
  restartTimer();
  if (panel.dataset.state !== "connected") {
    attempts = 0;
    endReason = "";
    showState("connected");
    refreshSoon(); // for changes before the connection
  }
  if (event.type === "session_ended") {
    endReason = event.text;
  } else if (event.type !== "heartbeat") {
    if (event.text) showEvent(event);
    document.dispatchEvent(new CustomEvent("live", { detail: event }));
    refreshSoon();
  }
}

/** Newer pages use all connections: connect again with the focus, or in a minute if visible. */
function waitForFocus() {
  disconnect();
  showState("reconnecting");
  addEventListener("focus", reconnect, { once: true });
  if (!document.hidden) retry = setTimeout(reconnect, SILENCE);
}

/** Connect again after a random delay that grows with each attempt. */
function retryLater() {
  disconnect();
  showState("reconnecting");
  const longest = Math.min(LONGEST, 1000 * 2 ** attempts++);
  // A new password replaces the session, and the browser may not have the new cookie yet.
  const least = endReason ? 1500 : 200;
  retry = setTimeout(reconnect, least + Math.random() * longest);
}

/** Connect if the site answers and the session has not ended. */
async function reconnect() {
  disconnect();
  const sentTo = await refresh();
  if (finished) return;
  if (sentTo) showEnd();
  else if (sentTo === "") connect();
  else retryLater();
}

function showState(state) {
  panel.hidden = false;
  panel.dataset.state = state;
  const badge = document.getElementById("live-state");
  badge.textContent = badge.dataset[state];
}

function showEvent({ time, text }) {
  const element = document.createElement("time");
  element.dateTime = element.textContent = time;
  const item = document.createElement("li");
  item.append(text, " ", element);
  list.prepend(item);
  item.dispatchEvent(new Event("added", { bubbles: true })); // for times.js
  while (list.children.length > SHOWN) list.lastChild.remove();
}

/** Fetch the current state, once for several calls within 0.1 s. */
function refreshSoon() {
  clearTimeout(update);
  update = setTimeout(refresh, 100);
}

/**
 * Fetch the current state of the marked parts. Returns the URL of the login page
 * if the response is that page, "" if not, and undefined if the site cannot be reached.
 */
async function refresh() {
  const parts = [...document.querySelectorAll("[data-live]")];
  try {
    for (const address of new Set(parts.map((part) => part.dataset.live))) {
      const response = await fetch(address, { cache: "no-store" });
      if (response.redirected) return response.url;
      if (!response.ok) return undefined;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of parts) replace(part, page.getElementById(part.id));
    }
    return "";
  } catch {
    return undefined;
  }
}

function replace(part, fresh) {
  // Compare texts, because the tokens in forms are new each time.
  if (!fresh || fresh.textContent === shown.get(part)) return;
  shown.set(part, fresh.textContent);
  part.replaceChildren(...fresh.childNodes);
  part.dispatchEvent(new Event("added", { bubbles: true }));
}

/** Remove the account's data from the page, and show why. */
function showEnd() {
  finished = true;
  disconnect();
  const link = document.createElement("a");
  link.href = location.pathname + location.search; // redirects to the login page, unless another tab has logged in
  link.textContent = panel.dataset.logIn;
  const note = document.createElement("p");
  note.className = "alert";
  note.setAttribute("role", "alert");
  note.append(endReason || panel.dataset.ended, " ", link);
  document.getElementById("main").replaceChildren(note);
}

function reconnectNow() {
  if (!finished && !document.hidden && attempts) reconnect();
}

if ("WebSocket" in window) {
  for (const part of document.querySelectorAll("[data-live]")) shown.set(part, part.textContent);
  connect();
  addEventListener("online", reconnectNow);
  document.addEventListener("visibilitychange", reconnectNow);
  // Browsers do not keep pages with open WebSockets for the back button.
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", ({ persisted }) => persisted && !finished && reconnect());
}
