// Another browser wants to be paired: only this one, which is, can say yes.

import type { VNode } from "preact";
import type { PairingFrame } from "../protocol";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Button, Foreign } from "../ui/parts";
import { useGuard } from "./guard";

export function PairingCard({ frame }: { frame: PairingFrame }): VNode {
  const app = useApp();
  const guard = useGuard();
  const answer = (accept: boolean): Promise<boolean> =>
    attempt(() => app.link.ask({ type: "pair", pairing: frame.pairing, accept }), accept ? "Paired" : "Refused");
  return (
    <article class="request" aria-label="Another browser wants to be paired">
      <h3>Another browser wants to be paired</h3>
      <p>
        It calls itself <Foreign text={frame.label} class="strong" />. Once paired it can read everything here and
        decide permission requests. Accept only if you are doing this yourself, and it shows the same words:
      </p>
      <p class="fingerprint">
        <code>{frame.fingerprint}</code>
      </p>
      <div ref={guard.end} class="end" />
      <footer class="request-actions">
        <Button kind="primary" blocked={guard.reason} onClick={() => void answer(true)}>
          Accept
        </Button>
        <Button onClick={() => void answer(false)}>Refuse</Button>
      </footer>
    </article>
  );
}
