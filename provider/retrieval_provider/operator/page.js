// Keeps the page up to date: each section is asked for again, and put in place when it has changed. Nothing is asked while nobody looks.

const EVERY_MS = { transfers: 1500, overview: 3000, health: 5000, errors: 5000, over_time: 10000, payers: 10000, content: 10000, channels: 10000, deals: 5000, prices: 30000 };
const silent = document.getElementById("silent");
const shown = new Map();
let unanswered = 0;

async function refresh(name) {
  const section = document.getElementById(name);
  const answer = await fetch(`/part/${name}${location.search}`, { headers: { Accept: "text/html" } });
  if (answer.status === 401) {
    location.reload(); // the pass has ended: the server shows where to sign in
    return;
  }
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  const html = await answer.text();
  const isHeld = section.contains(document.activeElement) || section.contains(getSelection()?.anchorNode ?? null) && !getSelection().isCollapsed;
  if (html !== shown.get(name) && !isHeld) {
    section.innerHTML = html; // made by the page's own server, which escapes what is not its own
    shown.set(name, html);
  }
}

async function keep(name, everyMs) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, everyMs));
    if (document.visibilityState !== "visible") continue;
    try {
      await refresh(name);
      unanswered = 0;
    } catch {
      unanswered += 1;
    }
    silent.hidden = unanswered < 2;
    document.body.classList.toggle("stale", !silent.hidden);
  }
}

for (const [name, everyMs] of Object.entries(EVERY_MS)) keep(name, everyMs);
