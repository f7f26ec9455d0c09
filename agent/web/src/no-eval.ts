// Keeps Zod, which the AI SDK brings, from trying `eval`: the policy refuses it, and reports that.
// https://zod.dev/api#configuration

Object.assign(globalThis, { __zod_globalConfig: { jitless: true } });

export {};
