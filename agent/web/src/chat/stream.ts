// Reads the agent's answer and lets through only chunks that a chat can show, and never a token.
import type { UIMessageChunk } from 'ai';

import { parseRecord } from '../auth/json';
import { ChatError, type ChatErrorCode, isStop } from './errors';
import { holdsToken, isLikeToken, maskTokens, TextMask } from './masking';
import { isTokenDelivery } from './tool-outputs';

const LINE_END = /\r\n|\n|\r/;
const MAX_FRAME_CHARS = 1_000_000;
const MAX_ANSWER_CHARS = 4_000_000;
const MAX_ERROR_CHARS = 500;
/** Deeper than any answer nests; without a bound, walking through one could overflow the stack. */
const MAX_LEVELS = 100;
/**
 * How long the agent may say nothing at all.
 *
 * Longer than a slow tool call: 20 s until a thread is free, then three calls to Cognito of up to
 * 17 s each, as the last one may run a trigger three times, for 5 s each.
 */
export const SILENCE_MS = 90_000;

/** The output that the chat sees of a tool whose own output it must not see. */
export const WITHHELD = { success: false, error_code: 'AUTH_SERVICE_ERROR' };

export type StreamHooks = {
  /** Takes a token delivery; returns the tool's output that the chat sees instead. */
  onTokens: (delivery: Record<string, unknown>) => unknown;
  onToolOutput: (toolName: string, output: unknown) => void;
  /** The answer has ended, in whatever way. */
  onEnd: () => void;
};

type BytesReader = Pick<ReadableStreamDefaultReader<Uint8Array>, 'read' | 'cancel'>;

/**
 * Map server-sent events to chunks.
 *
 * Chunks that are malformed, of a type that is not known here or without what they refer to
 * would make the chat fail: they are dropped. An answer without its end gets an `error` chunk,
 * whose text is a `ChatErrorCode`.
 */
export function readChunks(
  bytes: ReadableStream<Uint8Array>,
  hooks: StreamHooks,
): ReadableStream<UIMessageChunk> {
  const reader = bytes.getReader();
  const chunks = answer(reader, hooks);
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      letGo(reader); // first, as the generator ends no sooner than the read it waits for
      await chunks.return();
    },
  });
}

/**
 * Read the first event, as soon as it is there; throw if it does not come or has no end.
 *
 * @returns Its data, empty if there is none, and the whole answer again.
 */
export async function readAhead(
  bytes: ReadableStream<Uint8Array>,
): Promise<{ first: string; whole: ReadableStream<Uint8Array> }> {
  const reader = bytes.getReader();
  const held: ReadableStreamReadResult<Uint8Array>[] = [];
  const holding = {
    async read() {
      const piece = await reader.read();
      held.push(piece);
      return piece;
    },
    cancel: async () => undefined, // there is more to read
  };
  let first = '';
  try {
    first = (await frames(holding).next()).value ?? '';
  } catch (error) {
    if (error instanceof ChatError) {
      letGo(reader);
      throw error;
    }
    // Whoever reads the answer meets it too.
  }
  const whole = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = held.shift() ?? (await reader.read());
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { first, whole };
}

async function* answer(
  reader: BytesReader,
  hooks: StreamHooks,
): AsyncGenerator<UIMessageChunk, void> {
  const filter = new ChunkFilter(hooks);
  let trouble: ChatErrorCode = 'answer_cut_off';
  try {
    for await (const data of frames(reader)) {
      yield* filter.pass(data);
      if (filter.finished) return; // whether or not the connection stays open
    }
  } catch (error) {
    if (isStop(error)) throw error;
    if (error instanceof ChatError) trouble = error.code;
  } finally {
    hooks.onEnd();
  }
  yield* filter.endTexts();
  yield { type: 'error', errorText: trouble };
}

/** Yield the data of each event. https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* frames(reader: BytesReader): AsyncGenerator<string, void> {
  let line: string[] = []; // in the pieces it came in, each of which is looked at once
  let data: string[] = [];
  let total = 0;
  let inFrame = 0;
  let afterReturn = false;
  for await (const text of texts(reader)) {
    total += text.length;
    inFrame += text.length;
    const begin = afterReturn && text.startsWith('\n') ? 1 : 0;
    const [more = '', ...lines] = text.slice(begin).split(LINE_END);
    afterReturn = text.endsWith('\r');
    line.push(more);
    for (const next of lines) {
      const ended = line.join('');
      line = [next];
      if (ended.startsWith('data:')) data.push(ended.slice(ended[5] === ' ' ? 6 : 5));
      if (ended !== '') continue;
      if (data.length > 0) yield data.join('\n');
      data = [];
      inFrame = 0;
    }
    if (total > MAX_ANSWER_CHARS || inFrame > MAX_FRAME_CHARS)
      throw new ChatError('answer_too_long');
  } // an event without its empty line is no event
}

/** Yield the text that arrives; throw if none does for too long, and let the connection go. */
export async function* texts(reader: BytesReader): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      if (text !== '') yield text;
    }
  } finally {
    letGo(reader);
  }
}

/** Wait for what the agent is to send; throw if it is silent for too long. */
export async function inTime<T>(reading: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new ChatError('silent')), SILENCE_MS);
  });
  try {
    return await Promise.race([reading, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** End the read under way, if any, without waiting until the connection is closed. */
function letGo(reader: BytesReader): void {
  reader.cancel().catch(() => undefined);
}

/** The state of one answer: its open texts, and its tool calls by whether they have an output. */
class ChunkFilter {
  finished = false;
  readonly #hooks: StreamHooks;
  readonly #openTexts = new Map<string, TextMask>();
  readonly #pendingTools = new Map<string, string>();
  /** The last text ended within what may be a token, and the next one may go on with it. */
  #inToken = false;

  constructor(hooks: StreamHooks) {
    this.#hooks = hooks;
  }

  /** Return what to show of an event's data: chunks made anew, so that no unknown field passes. */
  pass(data: string): UIMessageChunk[] {
    const value = parseRecord(data);
    if (!value || isTooDeep(value)) return [];
    const { type } = value;
    switch (type) {
      case 'start':
      case 'start-step':
      case 'finish-step':
        return [{ type }];
      case 'finish':
        this.finished = true;
        return [...this.endTexts(), { type: 'finish' }];
      case 'error':
        return [{ type: 'error', errorText: errorText(value.errorText) }];
      case 'text-start':
        return this.#startText(value.id);
      case 'text-delta':
        return this.#text(value.id, value.delta);
      case 'text-end':
        return this.#endText(value.id);
      case 'tool-input-available':
        return this.#toolInput(value);
      case 'tool-output-available':
      case 'tool-output-error':
        return this.#toolEnd(value);
      default:
        return [];
    }
  }

  endTexts(): UIMessageChunk[] {
    return [...this.#openTexts.keys()].flatMap((id) => this.#endText(id));
  }

  #startText(id: unknown): UIMessageChunk[] {
    if (!isName(id) || this.#openTexts.has(id)) return [];
    this.#openTexts.set(id, new TextMask(this.#inToken));
    return [{ type: 'text-start', id }];
  }

  #text(id: unknown, delta: unknown): UIMessageChunk[] {
    const mask = isName(id) && this.#openTexts.get(id);
    if (!mask || typeof delta !== 'string') return [];
    const shown = mask.next(delta);
    return shown === '' ? [] : [{ type: 'text-delta', id, delta: shown }];
  }

  #endText(id: unknown): UIMessageChunk[] {
    const mask = isName(id) && this.#openTexts.get(id);
    if (!mask) return [];
    this.#openTexts.delete(id);
    this.#inToken = mask.inToken;
    const rest = mask.rest();
    const end: UIMessageChunk = { type: 'text-end', id };
    return rest === '' ? [end] : [{ type: 'text-delta', id, delta: rest }, end];
  }

  #toolInput({ toolCallId, toolName, input }: Record<string, unknown>): UIMessageChunk[] {
    if (!isName(toolCallId) || !isName(toolName) || holdsToken(input)) return [];
    this.#pendingTools.set(toolCallId, toolName);
    return [{ type: 'tool-input-available', toolCallId, toolName, input }];
  }

  #toolEnd(value: Record<string, unknown>): UIMessageChunk[] {
    const { toolCallId } = value;
    let { output } = value;
    // Taken even where the chat knows nothing of the call: a sign-in is not lost over that.
    if (isTokenDelivery(output)) output = this.#hooks.onTokens(output);
    const toolName = isName(toolCallId) && this.#pendingTools.get(toolCallId);
    if (!isName(toolCallId) || !isName(toolName)) return [];
    this.#pendingTools.delete(toolCallId);
    if (value.type === 'tool-output-error') {
      return [{ type: 'tool-output-error', toolCallId, errorText: errorText(value.errorText) }];
    }
    if (holdsToken(output)) output = WITHHELD;
    this.#hooks.onToolOutput(toolName, output);
    return [{ type: 'tool-output-available', toolCallId, output }];
  }
}

function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let levels = 0; level.length > 0; levels++) {
    if (levels > MAX_LEVELS) return true;
    level = level.flatMap((part) => (typeof part === 'object' && part ? Object.values(part) : []));
  }
  return false;
}

/** Tell whether a value can name a text, a tool or a tool call; the chat keeps names too. */
function isName(value: unknown): value is string {
  return typeof value === 'string' && !isLikeToken(value);
}

/** Return the agent's own sentence about what went wrong, or a code if it has none. */
function errorText(text: unknown): string {
  return typeof text === 'string' && text !== ''
    ? maskTokens(text).slice(0, MAX_ERROR_CHARS)
    : ('failed' satisfies ChatErrorCode);
}
