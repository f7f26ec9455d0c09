// The guest runtime is reached by the basic flow: identity, OpenID token, STS, then the call.
import { BedrockAgentCoreClient } from '@aws-sdk/client-bedrock-agentcore';
import { fromWebToken } from '@aws-sdk/credential-providers';
import { describe, expect, it, vi } from 'vitest';

import { encode, streamOf } from '../testing/answers';
import { config, jwt, NOW } from '../testing/fakes';
import { callGuestRuntime } from './guest-aws';

vi.mock('@aws-sdk/credential-providers', () => ({ fromWebToken: vi.fn() }));

const aws = {
  ...config,
  identityPoolId: 'eu-central-1:pool',
  guestRuntimeArn: 'arn:aws:bedrock-agentcore:eu-central-1:123456789012:runtime/guest',
  guestRoleArn: 'arn:aws:iam::123456789012:role/guest',
};
const call = { body: '{"prompt":"Hello"}', chatId: 's'.repeat(36), signal: null };

describe('callGuestRuntime', () => {
  it("gets guest credentials, signs on AWS's clock and streams the answer", async () => {
    const openId = jwt('identity', NOW);
    const answers = [{ IdentityId: 'identity' }, { Token: openId }];
    vi.spyOn(Date, 'now').mockReturnValue(NOW + 600_000);
    const fetch = vi
      .spyOn(globalThis, 'fetch')
      .mockImplementation(async () => Response.json(answers.shift()));
    const credentials = { accessKeyId: 'A', secretAccessKey: 'S', sessionToken: 'T' };
    vi.mocked(fromWebToken).mockReturnValue(async () => credentials);
    const send = vi
      .spyOn(BedrockAgentCoreClient.prototype, 'send')
      .mockImplementation(async function (this: BedrockAgentCoreClient) {
        expect(await this.config.credentials()).toMatchObject(credentials);
        expect(this.config.systemClockOffset).toBe(-600_000);
        expect(await this.config.maxAttempts()).toBe(1);
        return {
          statusCode: 200,
          contentType: 'text/event-stream',
          response: {
            transformToWebStream: () => streamOf([encode('data: 1\n\n')]),
          },
        };
      } as never);
    const response = await callGuestRuntime(aws, call);
    expect(await response.text()).toBe('data: 1\n\n');
    const bodies = fetch.mock.calls.map(([, init]) => JSON.parse(String(init?.body)));
    expect(fetch.mock.calls.map(([, init]) => init?.credentials)).toEqual(['omit', 'omit']);
    expect(bodies).toEqual([{ IdentityPoolId: aws.identityPoolId }, { IdentityId: 'identity' }]);
    expect(fromWebToken).toHaveBeenCalledWith(
      expect.objectContaining({ roleArn: aws.guestRoleArn, webIdentityToken: openId }),
    );
    expect(send.mock.calls[0]?.[0].input).toMatchObject({
      agentRuntimeArn: aws.guestRuntimeArn,
      runtimeSessionId: call.chatId,
      payload: encode(call.body),
    });
  });

  it("hands on the identity pool's refusal by its status too", async () => {
    vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('', { status: 429 }));
    vi.spyOn(BedrockAgentCoreClient.prototype, 'send').mockImplementation(async function (
      this: BedrockAgentCoreClient,
    ) {
      return await this.config.credentials({ forceRefresh: true });
    } as never);
    expect((await callGuestRuntime(aws, call)).status).toBe(429);
  });

  it("hands on AWS's refusal by its status, and a lost network as an error", async () => {
    const send = vi.spyOn(BedrockAgentCoreClient.prototype, 'send');
    send.mockRejectedValueOnce({ $metadata: { httpStatusCode: 429 } } as never);
    expect((await callGuestRuntime(aws, call)).status).toBe(429);
    send.mockRejectedValueOnce(new TypeError('failed') as never);
    await expect(callGuestRuntime(aws, call)).rejects.toThrow('failed');
    const garbled = Object.assign(new Error('garbled'), { $metadata: { httpStatusCode: 200 } });
    send.mockRejectedValueOnce(garbled as never);
    await expect(callGuestRuntime(aws, call)).rejects.toThrow('garbled');
  });
});
