// Requests that change something. They take the token, which `richmond web` prints in a link, behind its #.

const KEY = "richmond.token";

export class Refused extends Error {}
export class Lost extends Error {}

takeFromAddress();
addEventListener("hashchange", takeFromAddress);

function takeFromAddress() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    keep(decodeURIComponent(found[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
}

function keep(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
  dispatchEvent(new Event("richmond-token"));
}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;

// The answer of a POST, as an object. Asks for the token where it is missing or wrong.
// Refused: the server says no, in plain words. Lost: it does not answer. `free`: it takes no token.
export async function post(path, body = {}, free = false) {
  if (!free && !hasToken() && !(await askForToken(""))) throw new Refused("Nothing was changed: that takes the token.");
  for (;;) {
    const answer = await send(path, body);
    if (answer.status !== 401) return read(answer);
    keep("");
    if (!(await askForToken("That is not the token."))) throw new Refused("Nothing was changed: that takes the token.");
  }
}

async function send(path, body) {
  try {
    return await fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${sessionStorage.getItem(KEY)}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new Lost("Richmond does not answer.");
  }
}

async function read(answer) {
  const text = await answer.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Refused(text.trim() || `HTTP ${answer.status}`);
  }
  if (!answer.ok || found.ok === false) throw new Refused(found.error || `HTTP ${answer.status}`);
  return found;
}

// Whether there is one now. `why`: what is wrong with the last one.
export function askForToken(why) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "token-title");
  dialog.innerHTML = `
    <form method="dialog" autocomplete="off">
      <h2 id="token-title">This takes the token</h2>
      <p>Anyone here may look; changing something takes the token. On the host of this Richmond, in a terminal,</p>
      <p><code>richmond web</code> prints a link to this page that has it,</p>
      <p><code>richmond web --token</code> the token alone, to be pasted here. It is kept until this tab is closed.</p>
      <label for="token">Token</label>
      <input id="token" name="token" spellcheck="false" autocapitalize="off">
      <p class="wrong" role="alert"></p>
      <div class="buttons"><button value="" formnovalidate>Cancel</button><button value="use" class="primary">Use it</button></div>
    </form>`;
  dialog.querySelector(".wrong").textContent = why;
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("input").focus();
  // Return in the field means the second button, not the first.
  dialog.querySelector("input").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      dialog.close("use");
    }
  });
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.querySelector("input").value.trim();
      dialog.remove();
      const used = dialog.returnValue === "use" && given !== "";
      if (used) keep(given.replace(/^.*#token=/, ""));
      resolve(used);
    });
  });
}
