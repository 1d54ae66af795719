// Notifications of the browser, the counter in the title, and the sound: all of them tell, none decides.

import { notifies, sounds } from "../store/memory";

const BEEP_HZ = 660;
const BEEP_S = 0.18;

export function notificationProblem(): string | null {
  if (!("Notification" in globalThis)) return "This browser has no notifications.";
  return Notification.permission === "denied"
    ? "This browser was told not to show them. Allow them in its settings for this address."
    : null;
}

export async function allowNotifications(): Promise<boolean> {
  if (!("Notification" in globalThis)) return false;
  return (await Notification.requestPermission()) === "granted";
}

/** Tell that something needs the person: who and what kind, never the contents. */
export function tell(kind: "permission" | "question", who: string): void {
  if (sounds.value) beep();
  if (!notifies.value || !document.hidden || !("Notification" in globalThis) || Notification.permission !== "granted")
    return;
  const text = kind === "permission" ? "asks for permission" : "has a question";
  const shown = new Notification("CrossChat", { body: `${who} ${text}`, tag: `${kind} ${who}` });
  shown.onclick = () => {
    window.focus();
    location.hash = "#/needs";
    shown.close();
  };
}

/** The number of what waits, in front of the title. */
export function showCount(count: number, view: string): void {
  document.title = `${count > 0 ? `(${count}) ` : ""}${view} · CrossChat`;
}

function beep(): void {
  try {
    const audio = new AudioContext();
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = BEEP_HZ;
    volume.gain.setValueAtTime(0.08, audio.currentTime);
    volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + BEEP_S);
    tone.connect(volume).connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + BEEP_S);
    tone.onended = () => void audio.close();
  } catch {
    // a browser without sound
  }
}
