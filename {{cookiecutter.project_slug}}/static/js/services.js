// The state of each service, fetched after the page is loaded, so that a service that hangs does
// not delay the page. Without scripts the panel stays hidden.

const EVERY = 15_000; // milliseconds
const list = document.getElementById("services");

function show(backends) {
  const rows = Object.entries(backends).flatMap(([name, { state, milliseconds }]) => {
    const term = document.createElement("dt");
    term.textContent = name;
    const value = document.createElement("dd");
    value.className = `state-${state}`;
    value.textContent = `${list.dataset[state]}, ${milliseconds} ms`;
    return [term, value];
  });
  list.replaceChildren(...rows);
  list.parentElement.hidden = false;
}

async function ask() {
  if (document.hidden) return;
  try {
    // 503 has the same body: people cannot log in, and the panel shows why.
    show((await (await fetch("/readyz")).json()).backends);
  } catch {
    list.parentElement.hidden = true; // the site cannot be reached
  }
}

ask();
setInterval(ask, EVERY);
document.addEventListener("visibilitychange", ask);
