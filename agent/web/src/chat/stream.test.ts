// The reading of an answer: how it ends, what passes, and that it neither hangs nor slows down.
import type { UIMessageChunk } from 'ai';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import {
  collect,
  connection,
  encode,
  failingAfter,
  frames,
  streamOf,
  text,
  toolCall,
  whole,
} from '../testing/answers';
import { CANARY, delivery, jwt, NOW } from '../testing/fakes';
import { readAhead, readChunks, SILENCE_MS, type StreamHooks } from './stream';

const ACCESS_TOKEN = jwt('ada', NOW);
/** Five parts, as a refresh token of Cognito has. */
const REFRESH_TOKEN = `eyJjdHkiOiJKV1QiLCJlbmMiOiJBMjU2R0NNIn0.${'k'.repeat(342)}.iv.${CANARY}.tag`;

const [call] = toolCall('lookup', {}, 'a');
const output = (value: unknown) => toolCall('lookup', value, 'a')[1];

function hooks() {
  return {
    onTokens: vi.fn<StreamHooks['onTokens']>(() => ({ success: true })),
    onToolOutput: vi.fn<StreamHooks['onToolOutput']>(),
    onEnd: vi.fn<StreamHooks['onEnd']>(),
  };
}

const all = (bytes: ReadableStream<Uint8Array>, given = hooks()) =>
  collect(readChunks(bytes, given));

function inPieces(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  };
  return streamOf(pieces());
}

const read = (...chunks: unknown[]) => all(streamOf([encode(whole(chunks))]));

function shown(chunks: UIMessageChunk[]): string {
  return chunks.map((chunk) => (chunk.type === 'text-delta' ? chunk.delta : '')).join('');
}

describe('the end of an answer', () => {
  it('is its finish, though the connection stays open', async () => {
    const { bytes, cancelled, send } = connection();
    const given = hooks();
    send(whole(text('Fine.')));
    expect((await all(bytes, given)).at(-1)).toEqual({ type: 'finish' });
    expect(cancelled).toHaveBeenCalledOnce();
    expect(given.onEnd).toHaveBeenCalledOnce();
  });

  it('waits for no connection that does not let itself be closed', async () => {
    const { bytes, send } = connection(() => new Promise(() => undefined));
    send(whole(text('Fine.')));
    expect((await all(bytes)).at(-1)).toEqual({ type: 'finish' });
  });

  it('shows texts left open before it', async () => {
    const chunks = await read(...text('I know eyJust').slice(0, 2));
    expect(shown(chunks)).toBe('I know eyJust');
    expect(chunks.slice(-2)).toEqual([{ type: 'text-end', id: 'text-1' }, { type: 'finish' }]);
  });

  it.each([
    ['can be closed', () => undefined],
    ['does not close', () => new Promise<void>(() => undefined)],
  ])('comes at once when it is cancelled, where a silent connection %s', async (_name, cancel) => {
    const { bytes, cancelled, send } = connection(cancel);
    const given = hooks();
    send(frames([{ type: 'start' }]));
    const reader = readChunks(bytes, given).getReader();
    await reader.read();
    const waiting = reader.read();
    await new Promise((resolve) => setTimeout(resolve)); // it waits for bytes by now
    await reader.cancel();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(cancelled).toHaveBeenCalledOnce();
    expect(given.onEnd).toHaveBeenCalledOnce();
  });
});

describe('an agent that hangs', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('is given up, and the visitor is told', async () => {
    const { bytes, cancelled, send } = connection();
    const given = hooks();
    send(frames([{ type: 'start' }, ...text('Half').slice(0, 2)]));
    const chunks = all(bytes, given);
    await vi.advanceTimersByTimeAsync(SILENCE_MS);
    expect((await chunks).slice(-3)).toEqual([
      { type: 'text-delta', id: 'text-1', delta: 'Half' },
      { type: 'text-end', id: 'text-1' },
      { type: 'error', errorText: 'silent' },
    ]);
    expect(cancelled).toHaveBeenCalledOnce();
    expect(given.onEnd).toHaveBeenCalledOnce();
  });

  it('is waited for as long as anything comes, be it a comment', async () => {
    const { bytes, send } = connection();
    const chunks = all(bytes);
    for (let times = 0; times < 5; times++) {
      await vi.advanceTimersByTimeAsync(SILENCE_MS - 1);
      send(': still here\n');
    }
    send(whole(text('Fine.')));
    expect((await chunks).at(-1)).toEqual({ type: 'finish' });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is not taken for a visitor who reads slowly', async () => {
    const chunks = readChunks(streamOf([encode(whole(text('Fine.')))]), hooks());
    await vi.advanceTimersByTimeAsync(5 * SILENCE_MS);
    expect((await collect(chunks)).at(-1)).toEqual({ type: 'finish' });
  });
});

describe('the first event', () => {
  it('is read ahead of an answer that then goes on as it comes', async () => {
    const { bytes, cancelled, send } = connection();
    send('data: {"type": ');
    send('"start"}\n\ndata: {"type"');
    const { first, whole } = await readAhead(bytes);
    expect(first).toBe('{"type": "start"}');
    const reader = whole.getReader();
    const next = async () => new TextDecoder().decode((await reader.read()).value);
    expect(await next()).toBe('data: {"type": ');
    expect(await next()).toBe('"start"}\n\ndata: {"type"');
    send(': "finish"}\n\n');
    expect(await next()).toBe(': "finish"}\n\n');
    expect(cancelled).not.toHaveBeenCalled();
    await reader.cancel();
    expect(cancelled).toHaveBeenCalledOnce();
  });

  it('loses nothing of an answer that is cut off after it, or before', async () => {
    const lost = new TypeError('network error');
    for (const sent of [frames([{ type: 'start' }]), 'data: {"type"', '']) {
      const { first, whole } = await readAhead(failingAfter(sent, lost));
      expect(first).toBe(sent.endsWith('\n\n') ? '{"type":"start"}' : '');
      const reader = whole.getReader();
      expect((await reader.read()).value).toEqual(encode(sent));
      await expect(reader.read()).rejects.toBe(lost);
    }
  });

  it('is empty in an answer without one', async () => {
    const { first, whole } = await readAhead(streamOf([encode(': a comment\n\n')]));
    expect([first, (await collect(whole)).length]).toEqual(['', 1]);
  });

  it('is waited for no longer than any other', async () => {
    vi.useFakeTimers();
    const { bytes, cancelled } = connection();
    const reading = expect(readAhead(bytes)).rejects.toMatchObject({ code: 'silent' });
    await vi.advanceTimersByTimeAsync(SILENCE_MS);
    await reading;
    vi.useRealTimers();
    expect(cancelled).toHaveBeenCalledOnce();
  });
});

describe('frames', () => {
  it('are read in a time that grows with their length, however small the pieces', async () => {
    const long = 'x'.repeat(900_000);
    const bytes = encode(whole(text(long)));
    // Read again and again, it would take longer than a test may.
    expect(shown(await all(inPieces(bytes, 16)))).toBe(long);
  });

  it.each(['\n', '\r\n', '\r'])('may end lines with %j, wherever the pieces end', async (end) => {
    const bytes = encode(whole(text('Grüße, ', '你好')).replaceAll('\n', end));
    for (const size of [1, 2, 3, 7]) {
      expect(await all(inPieces(bytes, size))).toEqual([
        { type: 'start' },
        ...text('Grüße, ', '你好'),
        { type: 'finish' },
      ]);
    }
  });

  it.each(['\n', '\r\n', '\r'])('may have data in several lines that end with %j', async (end) => {
    const lines = ['data: {"type":', 'data:"start"}', '', 'data: {"type": "finish"}', '', ''];
    const bytes = encode(lines.join(end));
    for (const size of [1, 2, 3, bytes.length]) {
      expect(await all(inPieces(bytes, size))).toEqual([{ type: 'start' }, { type: 'finish' }]);
    }
  });

  it.each([1_000, 5_000_000])('may be many in an answer, in pieces of %i bytes', async (size) => {
    const long = Array.from({ length: 6 }, () => 'x'.repeat(400_000));
    expect(shown(await all(inPieces(encode(whole(text(...long))), size)))).toBe(long.join(''));
  });

  it('may come with a piece of nothing within a line end', async () => {
    const pieces = [
      'data: {"type":\r',
      '',
      '\ndata: "start"}\r\n\r\n',
      'data: {"type": "finish"}\n\n',
    ];
    const chunks = await all(streamOf(pieces.map(encode)));
    expect(chunks).toEqual([{ type: 'start' }, { type: 'finish' }]);
  });

  it('are not read if they are too long', async () => {
    const { bytes, cancelled, send } = connection();
    send(frames([{ type: 'start' }]));
    const chunks = all(bytes);
    for (let times = 0; times < 11; times++) send(`data: ${'x'.repeat(100_000)}\n`);
    expect((await chunks).at(-1)).toEqual({ type: 'error', errorText: 'answer_too_long' });
    expect(cancelled).toHaveBeenCalledOnce();
  });

  it.each(['[', '{"a":'])('are dropped where %s nests 20,000 levels', async (open) => {
    const deep = `${open.repeat(20_000)}1${(open === '[' ? ']' : '}').repeat(20_000)}`;
    const nested = [
      { ...call, toolCallId: 'b', input: 'DEEP' },
      output('DEEP'),
      { type: 'error', errorText: 'DEEP' },
      { type: 'invented', data: 'DEEP' },
    ];
    const bytes = whole([call, ...nested, ...text('Fine.')]).replaceAll('"DEEP"', deep);
    const given = hooks();
    expect(await all(streamOf([encode(bytes)]), given)).toEqual([
      { type: 'start' },
      call,
      ...text('Fine.'),
      { type: 'finish' },
    ]);
    expect(given.onToolOutput).not.toHaveBeenCalled();
  });

  it('may name a tool after tokens', async () => {
    const named = { ...call, toolName: 'check_id_token' };
    expect(await read(named, output({}))).toContainEqual(named);
  });

  it('may nest as deep as outputs do', async () => {
    const nested = output({ bookings: [{ nights: [{ guests: [{ name: 'Ada' }] }] }] });
    expect(await read(call, nested)).toContainEqual(nested);
  });
});

describe('a token that is no delivery', () => {
  it.each([
    ['an access token', ACCESS_TOKEN],
    ['a refresh token', REFRESH_TOKEN],
  ])('is not shown in a text: %s, split anywhere', async (_name, token) => {
    for (let at = 0; at <= token.length; at++) {
      const deltas = [`Here, ${token.slice(0, at)}`, `${token.slice(at)}, keep it.`];
      const chunks = await read(...text(...deltas));
      expect(shown(chunks)).toMatch(/^Here, (ey?)?\[hidden\], keep it\.$/);
      expect(chunks.at(-1)).toEqual({ type: 'finish' });
    }
    const letters = await read(...text(...`Here, ${token}, keep it.`));
    expect(shown(letters)).toBe('Here, ey[hidden], keep it.');
  });

  it.each([
    ['a text that ends in it', text('It is ', ACCESS_TOKEN)],
    ['a text that ends within it', text('It is ', ACCESS_TOKEN.slice(0, -4))],
    ['a text left open', text('It is ', ACCESS_TOKEN).slice(0, -1)],
    ['a text named after it', text('Hi').map((chunk) => ({ ...chunk, id: ACCESS_TOKEN }))],
    ['an error', [{ type: 'error', errorText: `no: ${ACCESS_TOKEN}` }]],
    [
      'an error longer than is shown',
      [{ type: 'error', errorText: `${'x'.repeat(480)} ${ACCESS_TOKEN}` }],
    ],
    [
      "a tool's error",
      [call, { type: 'tool-output-error', toolCallId: 'a', errorText: REFRESH_TOKEN }],
    ],
    ["a tool's input", [{ ...call, input: { note: `Bearer ${ACCESS_TOKEN}` } }]],
    ["a tool's name", [{ ...call, toolName: ACCESS_TOKEN }]],
    ["a tool call's id", [{ ...call, toolCallId: ACCESS_TOKEN }]],
    ["a tool's output", [call, output([{ deep: [{ note: REFRESH_TOKEN }] }])]],
    ["a tool's output of another shape", [call, output({ accessToken: CANARY })]],
    ['JSON within an output', [call, output(JSON.stringify(delivery('ada', NOW)))]],
    ['a delivery within an output', [call, output({ result: delivery('ada', NOW) })]],
    ['a delivery as an input', [{ ...call, input: delivery('ada', NOW) }]],
    ['a chunk of a type nobody knows', [{ type: 'data-x', data: delivery('ada', NOW) }]],
  ])('is not shown in %s', async (_name, chunks) => {
    const given = hooks();
    const seen = await all(streamOf([encode(whole(chunks))]), given);
    expect(JSON.stringify([seen, given.onToolOutput.mock.calls])).not.toMatch(
      new RegExp(`${CANARY}|eyJ|${CANARY.slice(0, 6)}`),
    );
    expect(seen.at(-1)).toEqual({ type: 'finish' });
    expect(given.onTokens).not.toHaveBeenCalled();
  });

  it('is not shown in two texts that it is cut by, wherever', async () => {
    for (let at = 1; at < ACCESS_TOKEN.length; at++) {
      const between = [call, output({ found: 1 })];
      const [first, second] = [ACCESS_TOKEN.slice(0, at), ACCESS_TOKEN.slice(at)];
      const chunks = await read(...text('Here, ', first), ...between, ...text(second, ', bye.'));
      // Too short a beginning is not known as one, and the rest of its header is then shown.
      if (at >= 'eyJ'.length)
        expect(shown(chunks)).toMatch(/^Here, ([\w-]+\.?|\[hidden\]), bye\.$/);
      expect(shown(chunks)).not.toContain(CANARY);
    }
  });

  it('takes no text with it that stands around', async () => {
    const words = `First ${ACCESS_TOKEN}; then ${REFRESH_TOKEN}\nand last.`;
    expect(shown(await read(...text(words)))).toBe('First [hidden]; then [hidden]\nand last.');
  });

  it('holds back no other text', async () => {
    const { bytes, send } = connection();
    const reader = readChunks(bytes, hooks()).getReader();
    send(frames([{ type: 'text-start', id: 'text-1' }]));
    await reader.read();
    const deltas = ['They', ' e', 'y', 'e', ' the key', ' to an access_token', ' in e', 'yJot. '];
    for (const delta of deltas) {
      send(frames([{ type: 'text-delta', id: 'text-1', delta }]));
      expect((await reader.read()).value).toEqual({ type: 'text-delta', id: 'text-1', delta });
    }
    await reader.cancel();
  });

  it('does not slow down a text that is like the beginnings of many', async () => {
    const like = 'eyJ'.repeat(150_000);
    expect(shown(await read(...text(like)))).toBe('[hidden]');
    await read(call, output({ like }));
    await read(...text(...'eyJabc '.repeat(10_000)));
  });
});

it('says that an answer was cut off if its end is missing', async () => {
  const chunks = await all(streamOf([encode(frames([{ type: 'start' }]))]));
  expect(chunks.at(-1)).toEqual({ type: 'error', errorText: 'answer_cut_off' });
});
