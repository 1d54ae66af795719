// Where the page begins: the link to the hub, the views, and what wakes the link up again.

import "./style/all.css";
import { effect } from "@preact/signals";
import { render, type VNode } from "preact";
import { socket, ticket } from "./link/door";
import { App } from "./store/app";
import { theme } from "./store/memory";
import { AppContext } from "./ui/context";
import { tell } from "./ui/notify";
import { PairingPage } from "./views/pairing";
import { Shell } from "./views/shell";

declare const __VERSION__: string;

const PAIRED = "crosschat.paired"; // one tab tells the others of this browser
const tabs = new BroadcastChannel(PAIRED);
const app = new App({ ticket, socket, version: __VERSION__ }, __VERSION__, tell);

effect(() => {
  if (theme.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});

addEventListener("online", () => app.link.start());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) app.link.start();
});
tabs.onmessage = () => app.link.start();

function paired(): void {
  tabs.postMessage("paired");
  if (location.pathname !== "/") history.replaceState(null, "", `/${location.hash}`);
  app.link.start();
}

function Root(): VNode {
  return (
    <AppContext.Provider value={app}>
      {app.link.state.value === "unpaired" ? <PairingPage paired={paired} /> : <Shell />}
    </AppContext.Provider>
  );
}

app.link.start();
const place = document.getElementById("app");
if (place !== null) render(<Root />, place);
