// Keys that work anywhere on the page, as long as nobody is typing.

import { useLayoutEffect, useRef } from "preact/hooks";

export type Keys = Record<string, () => unknown>;

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Whether a key is one of ours: no modifier but Shift, and not inside a field or a dialog. */
function isFree(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return false;
  if (isTyping(event.target)) return false;
  return !(event.target instanceof Element && event.target.closest("dialog"));
}

/** Run what belongs to a key while the component is shown. None of these decides a permission. */
export function onKeys(keys: Keys): void {
  const current = useRef(keys);
  current.current = keys;
  useLayoutEffect(() => {
    // not after the next frame: what is on the screen listens
    const listen = (event: KeyboardEvent): void => {
      const act = isFree(event) ? current.current[event.key] : undefined;
      if (act === undefined) return;
      event.preventDefault();
      act();
    };
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, []);
}
