// Answers of the agent, as it streams them.
import { vi } from 'vitest';

export const text = (...deltas: string[]) => [
  { type: 'text-start', id: 'text-1' },
  ...deltas.map((delta) => ({ type: 'text-delta', id: 'text-1', delta })),
  { type: 'text-end', id: 'text-1' },
];
export const toolCall = (toolName: string, output: unknown, toolCallId: string = toolName) => [
  { type: 'tool-input-available', toolCallId, toolName, input: {} },
  { type: 'tool-output-available', toolCallId, output },
];
/** The output of `initiate_cognito_login` when a code was sent. */
export const codeSent = {
  success: true,
  status: 'code_sent',
  destination: 'a***@e***.com',
  code_length: 6,
  expires_in_seconds: 300,
  attempts_left: 3,
  retry_after_seconds: 30,
  new_mail: true,
  busy: false,
};

export const encode = (text: string) => new TextEncoder().encode(text);
export const frames = (chunks: unknown[]) =>
  chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join('');
export const whole = (chunks: unknown[]) =>
  frames([{ type: 'start' }, ...chunks, { type: 'finish' }]);

export function streamOf<T>(items: Iterable<T>): ReadableStream<T> {
  const iterator = items[Symbol.iterator]();
  return new ReadableStream<T>({
    pull(controller) {
      const { done, value } = iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

export async function collect<T>(stream: ReadableStream<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** An answer, be it the agent's or Cognito's, that the network loses. */
export function lost(): never {
  throw new TypeError('failed');
}

/** Bytes that fail after a text. */
export function failingAfter(text: string, error: Error): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pieces = function* () {
    yield encode(text);
    throw error;
  };
  return streamOf(pieces());
}

/** Bytes that come when the test says so, on a connection that nobody closes. */
export function connection(cancel: () => void | Promise<void> = () => undefined) {
  const cancelled = vi.fn(cancel);
  let send = (_text: string): void => undefined;
  const bytes = new ReadableStream({
    start(controller) {
      send = (sent) => controller.enqueue(encode(sent));
    },
    cancel: cancelled,
  });
  return { bytes, cancelled, send: (sent: string) => send(sent) };
}
