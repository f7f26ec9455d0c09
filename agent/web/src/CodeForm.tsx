// Where a mailed code is entered, with the time and the tries it has left.
import { type ReactNode, type SubmitEvent, useEffect, useRef, useState } from 'react';

import type { PendingCode } from './chat';
import { asciiDigits, codeInBox, LONG_CODE_DIGITS } from './digits';

type CodeFormProps = {
  pendingCode: PendingCode;
  /** The agent is still answering, and takes nothing else meanwhile. */
  busy: boolean;
  onCode: (code: string) => void;
  onNewCode: () => void;
  /** The visitor is done with a code that cannot be entered any more. */
  onClose: () => void;
};

export function CodeForm(props: CodeFormProps): ReactNode {
  const { pendingCode, busy, onCode, onNewCode, onClose } = props;
  const input = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState('');
  const newCode = useRef<HTMLButtonElement>(null);
  const close = useRef<HTMLButtonElement>(null);
  const newCodeAt = useNewCodeAt(pendingCode);
  const now = useSeconds();
  const secondsLeft = Math.ceil((pendingCode.expiresAt - now) / 1000);
  const secondsToNewCode = Math.ceil((newCodeAt - now) / 1000);
  const usable = pendingCode.open && secondsLeft > 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: empty the box when the code is another
  useEffect(() => {
    if (input.current) input.current.value = '';
    input.current?.focus();
    setProblem('');
  }, [pendingCode]);

  useEffect(() => {
    // The input went away with the focus in it.
    if (usable || document.activeElement !== document.body) return;
    (newCode.current ?? close.current)?.focus();
  }, [usable]);

  function submit(event: SubmitEvent<HTMLFormElement>): void {
    event.preventDefault();
    if (busy || !input.current) return;
    // Read from the form, never held in React's state.
    const code = asciiDigits(input.current.value);
    if (![pendingCode.codeLength, LONG_CODE_DIGITS].includes(code.length)) {
      setProblem(`The code has ${pendingCode.codeLength} digits.`);
      input.current.focus();
      return;
    }
    setProblem('');
    input.current.value = '';
    onCode(code);
    input.current.focus(); // for the next try
  }

  /** Leave a code alone in the box; the caret stays in its place. */
  function keepDigits(box: HTMLInputElement, inputType: string): void {
    const { value, selectionStart } = box;
    const forward = inputType === 'deleteContentForward';
    const kept = codeInBox(value, selectionStart ?? value.length, pendingCode.codeLength, forward);
    if (kept.text === value) return;
    box.value = kept.text; // which puts the caret at the end
    box.setSelectionRange(kept.caret, kept.caret);
  }

  return (
    <form className="code" aria-label="Sign-in code" onSubmit={submit} noValidate>
      {usable ? (
        <>
          <label htmlFor="code">Code</label>
          <p id="code-hint">
            {pendingCode.codeLength} digits, mailed to {pendingCode.destination}.{' '}
            <span className="nowrap">{tries(pendingCode.attemptsLeft)} left, </span>
            <span className="nowrap">
              valid for <time>{clock(secondsLeft)}</time>
            </span>
          </p>
          <div className="row">
            <input
              id="code"
              className={pendingCode.codeLength === LONG_CODE_DIGITS ? 'long' : ''}
              ref={input}
              type="text"
              inputMode="numeric"
              autoComplete="one-time-code"
              aria-describedby="code-problem code-hint"
              aria-invalid={problem !== ''}
              onInput={({ currentTarget, nativeEvent }) => {
                const { isComposing, inputType } = nativeEvent as InputEvent;
                // What an input method is still composing is not to be touched.
                if (!isComposing) keepDigits(currentTarget, inputType);
              }}
              onCompositionEnd={({ currentTarget }) => keepDigits(currentTarget, '')}
            />
            <button type="submit" className="primary" disabled={busy}>
              Sign in
            </button>
          </div>
        </>
      ) : (
        <p role="alert">
          {pendingCode.open ? 'This code has expired.' : 'No code can be entered just now.'}
        </p>
      )}
      <p id="code-problem" className="error" role="alert">
        {problem}
      </p>
      {secondsToNewCode > 0 && <p>You can ask for a new code in {clock(secondsToNewCode)}.</p>}
      <div className="row">
        {secondsToNewCode <= 0 && (
          <button type="button" ref={newCode} disabled={busy} onClick={onNewCode}>
            Send a new code
          </button>
        )}
        {!usable && (
          <button type="button" ref={close} onClick={onClose}>
            Close
          </button>
        )}
      </div>
    </form>
  );
}

function tries(count: number): string {
  return count === 1 ? '1 try' : `${count} tries`;
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** Return when a new code may be asked for, epoch ms; a wrong try does not bring it nearer. */
function useNewCodeAt(pendingCode: PendingCode): number {
  const [known, setKnown] = useState({ pendingCode, at: after(pendingCode) });
  if (known.pendingCode === pendingCode) return known.at;
  const at = Math.max(known.at, after(pendingCode));
  setKnown({ pendingCode, at });
  return at;
}

function after(pendingCode: PendingCode): number {
  return Date.now() + pendingCode.retryAfter * 1000;
}

function useSeconds(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
