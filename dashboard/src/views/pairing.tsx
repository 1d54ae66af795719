// What a browser shows that is not paired: how to pair it, and nothing else.
//
// It goes on by itself: also when another tab was paired, or another browser said yes.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { awaitPairing, pair } from "../link/door";
import type { PairedFrame } from "../protocol";
import { Mark } from "../ui/icons";
import { Button, Command, Field } from "../ui/parts";

const ASK_AGAIN_MS = 1_000;

export function browserName(agent = navigator.userAgent): string {
  const browser = /Firefox\//.test(agent)
    ? "Firefox"
    : /Edg\//.test(agent)
      ? "Edge"
      : /Chrom(?:e|ium)\//.test(agent)
        ? "Chrome"
        : /Safari\//.test(agent)
          ? "Safari"
          : "Browser";
  const system = /Mac OS X/.test(agent)
    ? "macOS"
    : /Windows/.test(agent)
      ? "Windows"
      : /Android/.test(agent)
        ? "Android"
        : /iPhone|iPad/.test(agent)
          ? "iOS"
          : /Linux/.test(agent)
            ? "Linux"
            : "";
  return system ? `${browser} on ${system}` : browser;
}

export function PairingPage({ paired }: { paired: () => void }): VNode {
  const [code, setCode] = useState("");
  const [label, setLabel] = useState(browserName());
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [waiting, setWaiting] = useState<PairedFrame | null>(null);
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => field.current?.focus(), []);
  const take = (frame: PairedFrame): void => {
    if (frame.state === "paired") paired();
    setWaiting(frame.state === "waiting" ? frame : null);
    if (frame.state === "refused") setProblem("The other browser said no.");
    if (frame.state === "expired") setProblem("Nobody answered in time. Get a new code and try again.");
  };
  useEffect(() => {
    if (waiting?.pairing == null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const ask = async (): Promise<void> => {
      const frame = await awaitPairing(waiting.pairing ?? "").catch(() => waiting);
      if (over) return;
      take(frame);
      if (frame.state === "waiting") timer = setTimeout(() => void ask(), ASK_AGAIN_MS);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [waiting?.pairing]);

  const submit = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      take(await pair(code.trim(), label.trim() || browserName()));
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      field.current?.select();
    } finally {
      setBusy(false);
    }
  };

  return (
    <main class="pairing">
      <div class="pairing-card">
        <p class="brand">
          <Mark size={36} /> CrossChat
        </p>
        {waiting !== null ? (
          <div role="status">
            <h1>Say yes in your other browser</h1>
            <p>A browser that is already paired must accept this one. It shows the same words:</p>
            <p class="fingerprint">
              <code>{waiting.fingerprint}</code>
            </p>
            <p class="hint">This page goes on by itself.</p>
          </div>
        ) : (
          <>
            <h1>Pair this browser</h1>
            <p>
              Here you read what your agents say, and decide what they may do. So that only you can, this browser needs
              a code from your own terminal, once.
            </p>
            <ol class="steps">
              <li>
                In a terminal (not inside Claude), run
                <Command text="crosschat dashboard" />
              </li>
              <li>
                <form
                  class="form"
                  onSubmit={(event) => {
                    event.preventDefault();
                    if (code.trim() !== "" && !busy) void submit();
                  }}
                >
                  <Field label="Type the code it prints">
                    <input
                      ref={field}
                      class="code-field"
                      value={code}
                      autocomplete="off"
                      autocapitalize="characters"
                      spellcheck={false}
                      inputMode="text"
                      maxLength={32}
                      dir="ltr"
                      aria-describedby={problem === null ? undefined : "pairing-problem"}
                      onInput={(event) => setCode(event.currentTarget.value)}
                    />
                  </Field>
                  {problem !== null && (
                    <p class="alarm" role="alert" id="pairing-problem">
                      {problem}
                    </p>
                  )}
                  <Field label="Name of this browser">
                    <input value={label} maxLength={64} onInput={(event) => setLabel(event.currentTarget.value)} />
                  </Field>
                  <Button
                    kind="primary"
                    type="submit"
                    blocked={code.trim() === "" ? "Type the code first." : busy ? "One moment." : null}
                  >
                    Pair
                  </Button>
                </form>
              </li>
            </ol>
            <p class="hint">
              The code works for a minute. If you paired this browser before, the hub’s address may have changed, or it
              was revoked.
            </p>
          </>
        )}
      </div>
    </main>
  );
}
