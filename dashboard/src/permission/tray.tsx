// What waits for a decision, above whatever view is open: one request in full, and how many more there are.
//
// It never takes the focus by itself: whoever types goes on typing, and nothing is decided by it.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { hrefOf } from "../store/route";
import { useApp } from "../ui/context";
import { IconButton } from "../ui/parts";
import { PermissionCard } from "./card";
import { PairingCard } from "./pairing";

export function Tray(): VNode | null {
  const app = useApp();
  const [small, setSmall] = useState(false);
  const { pending, pairings, count } = app.desk;
  useEffect(() => setSmall(false), [count.value]); // a new one is shown
  if (count.value === 0) return null;
  const first = pending.value[0];
  const pairing = pairings.value[0];
  const more = count.value - 1;
  return (
    <aside class={`tray ${small ? "small" : ""}`} aria-label="Waiting for your decision" tabIndex={-1} id="tray">
      <header class="tray-head">
        <span class="dot warn" aria-hidden="true" />
        <h2>{count.value === 1 ? "1 request waits" : `${count.value} requests wait`}</h2>
        {more > 0 && <a href={hrefOf("needs")}>see all</a>}
        <IconButton
          icon={small ? "plus" : "down"}
          label={small ? "Show the request" : "Make it small"}
          aria-expanded={!small}
          onClick={() => setSmall(!small)}
        />
      </header>
      {!small && (
        <div class="tray-body">
          {first !== undefined ? (
            <PermissionCard key={first.view.id} pending={first} tickable={false} />
          ) : (
            pairing !== undefined && <PairingCard key={pairing.pairing} frame={pairing} />
          )}
        </div>
      )}
    </aside>
  );
}
