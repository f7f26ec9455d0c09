// Reads the agent's answer and lets through only chunks that a chat can show, and never a token.
import type { UIMessageChunk } from 'ai';

import { isRecord, isTokenDelivery } from './tokens';

const MAX_FRAME_CHARS = 1_000_000;
const MAX_ANSWER_CHARS = 4_000_000;
const MAX_ERROR_CHARS = 500;

export const CUT_OFF = 'The answer was cut off. Please ask again.';
export const TOO_LONG = 'The answer was too long and was cut off. Please ask for less at once.';

export type StreamHooks = {
  /** Takes a token delivery; what it returns is shown as the tool's output instead. */
  onTokens: (delivery: Record<string, unknown>) => unknown;
  onToolOutput: (toolName: string, output: unknown) => void;
  /** The answer has ended, in whatever way. */
  onEnd: () => void;
};

/**
 * Maps server-sent events to chunks.
 *
 * Chunks that are malformed, of a type that is not known here or without what they refer to
 * would make the chat fail: they are dropped. An answer without its end gets an `error` chunk.
 */
export function readChunks(
  bytes: ReadableStream<Uint8Array>,
  hooks: StreamHooks,
): ReadableStream<UIMessageChunk> {
  const chunks = answer(bytes, hooks);
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await chunks.return();
    },
  });
}

async function* answer(
  bytes: ReadableStream<Uint8Array>,
  hooks: StreamHooks,
): AsyncGenerator<UIMessageChunk, void> {
  const filter = new ChunkFilter(hooks);
  let trouble: string | null = null;
  try {
    for await (const data of frames(bytes)) {
      const chunk = filter.pass(data);
      if (chunk) yield chunk;
    }
    if (!filter.finished) trouble = CUT_OFF;
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') throw error; // the visitor's wish
    if (!filter.finished) trouble = error instanceof AnswerTooLong ? TOO_LONG : CUT_OFF;
  } finally {
    hooks.onEnd();
  }
  if (trouble !== null) {
    yield* filter.endTexts();
    yield { type: 'error', errorText: trouble };
  }
}

class AnswerTooLong extends Error {}

/** Yields the data of each event. https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* frames(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const reader = bytes.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let data: string[] = [];
  let total = 0;
  let inFrame = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // an event without its empty line is no event
      const decoded = decoder.decode(value, { stream: true });
      total += decoded.length;
      inFrame += decoded.length;
      const lines = (rest + decoded).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
        if (line !== '') continue;
        if (data.length > 0) yield data.join('\n');
        data = [];
        inFrame = rest.length;
      }
      if (total > MAX_ANSWER_CHARS || inFrame > MAX_FRAME_CHARS) throw new AnswerTooLong();
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** The state of one answer: its open texts, and its tool calls by whether they have an output. */
class ChunkFilter {
  finished = false;
  readonly #hooks: StreamHooks;
  readonly #openTexts = new Set<string>();
  readonly #pendingTools = new Map<string, string>();

  constructor(hooks: StreamHooks) {
    this.#hooks = hooks;
  }

  pass(data: string): UIMessageChunk | null {
    if (this.finished) return null;
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch {
      return null;
    }
    return isRecord(value) ? this.#chunk(value) : null;
  }

  *endTexts(): Generator<UIMessageChunk, void> {
    for (const id of this.#openTexts) yield { type: 'text-end', id };
    this.#openTexts.clear();
  }

  /** Builds each chunk anew, so that fields nobody knows do not pass either. */
  #chunk(value: Record<string, unknown>): UIMessageChunk | null {
    switch (value['type']) {
      case 'start':
        return { type: 'start' };
      case 'start-step':
        return { type: 'start-step' };
      case 'finish-step':
        return { type: 'finish-step' };
      case 'finish':
        this.finished = true;
        return { type: 'finish' };
      case 'error':
        return { type: 'error', errorText: sentence(value['errorText']) };
      case 'text-start':
      case 'text-delta':
      case 'text-end':
        return this.#text(value['type'], value['id'], value['delta']);
      case 'tool-input-available':
        return this.#toolInput(value);
      case 'tool-output-available':
      case 'tool-output-error':
        return this.#toolEnd(value);
      default:
        return null;
    }
  }

  #text(
    type: 'text-start' | 'text-delta' | 'text-end',
    id: unknown,
    delta: unknown,
  ): UIMessageChunk | null {
    if (typeof id !== 'string' || this.#openTexts.has(id) === (type === 'text-start')) return null;
    if (type === 'text-delta') return typeof delta === 'string' ? { type, id, delta } : null;
    if (type === 'text-start') this.#openTexts.add(id);
    else this.#openTexts.delete(id);
    return { type, id };
  }

  #toolInput({ toolCallId, toolName, input }: Record<string, unknown>): UIMessageChunk | null {
    if (typeof toolCallId !== 'string' || typeof toolName !== 'string') return null;
    if (holdsToken(input)) return null;
    this.#pendingTools.set(toolCallId, toolName);
    return { type: 'tool-input-available', toolCallId, toolName, input };
  }

  #toolEnd(value: Record<string, unknown>): UIMessageChunk | null {
    const { toolCallId } = value;
    let { output } = value;
    // Taken even where the chat knows nothing of the call: a sign-in is not lost over that.
    if (isTokenDelivery(output)) output = this.#hooks.onTokens(output);
    const toolName = typeof toolCallId === 'string' && this.#pendingTools.get(toolCallId);
    if (typeof toolCallId !== 'string' || typeof toolName !== 'string') return null;
    this.#pendingTools.delete(toolCallId);
    if (value['type'] === 'tool-output-error') {
      return { type: 'tool-output-error', toolCallId, errorText: sentence(value['errorText']) };
    }
    if (holdsToken(output)) output = { success: false, error_code: 'AUTH_SERVICE_ERROR' };
    this.#hooks.onToolOutput(toolName, output);
    return { type: 'tool-output-available', toolCallId, output };
  }
}

/** A belt beside the braces: tokens that come in a shape other than the agreed one. */
function holdsToken(value: unknown): boolean {
  const json = JSON.stringify(value) ?? '';
  return /(?:id|access|refresh)_?token|eyJ[\w-]{8,}\.[\w-]{8,}\./i.test(json);
}

function sentence(text: unknown): string {
  return typeof text === 'string' && text !== ''
    ? text.slice(0, MAX_ERROR_CHARS)
    : 'Something went wrong. Please try again.';
}
