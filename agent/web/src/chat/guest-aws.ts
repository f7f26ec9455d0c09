// Calls the guest runtime with the identity pool's guest credentials; loaded where it is configured.
//
// The pool's enhanced flow gives credentials for a fixed list of services that lacks AgentCore,
// so this is the basic flow: an identity, its OpenID token, and STS for the guest role.
// https://docs.aws.amazon.com/cognito/latest/developerguide/authentication-flow.html
import {
  BedrockAgentCoreClient,
  InvokeAgentRuntimeCommand,
} from '@aws-sdk/client-bedrock-agentcore';
import { fromWebToken } from '@aws-sdk/credential-providers';

import { isRecord } from '../auth/json';
import { issuedAt } from '../auth/tokens';
import type { AgentConfig } from './config';

type GuestCall = { body: string; chatId: string; signal: AbortSignal | null };

let client: BedrockAgentCoreClient | null = null;

/** Post an anonymous message; what AWS refuses is a response with its status. */
export async function callGuestRuntime(config: AgentConfig, call: GuestCall): Promise<Response> {
  client ??= createClient(config);
  const command = new InvokeAgentRuntimeCommand({
    agentRuntimeArn: config.guestRuntimeArn,
    runtimeSessionId: call.chatId,
    contentType: 'application/json',
    accept: 'text/event-stream',
    payload: new TextEncoder().encode(call.body),
  });
  try {
    const answer = await client.send(command, call.signal ? { abortSignal: call.signal } : {});
    const body = answer.response?.transformToWebStream() ?? null;
    return new Response(body, {
      status: answer.statusCode ?? 200,
      headers: { 'content-type': answer.contentType ?? 'text/event-stream' },
    });
  } catch (error) {
    const status =
      isRecord(error) && isRecord(error.$metadata) ? error.$metadata.httpStatusCode : undefined;
    if (typeof status !== 'number' || status < 400) throw error;
    return new Response(null, { status });
  }
}

function createClient(config: AgentConfig): BedrockAgentCoreClient {
  const created = new BedrockAgentCoreClient({
    region: config.region,
    credentials: async () => {
      const { credentials, clockOffsetMs } = await guestCredentials(config);
      created.config.systemClockOffset = clockOffsetMs;
      return credentials;
    },
    maxAttempts: 1, // a message that is sent twice is answered twice
  });
  return created;
}

/** Return credentials, and how far AWS's clock is ahead: it refuses signatures minutes off. */
async function guestCredentials(config: AgentConfig) {
  if (!config.guestRoleArn) throw new Error('config.json has no guestRoleArn.');
  const identity = await identityPool(config, 'GetId', { IdentityPoolId: config.identityPoolId });
  const openId = await identityPool(config, 'GetOpenIdToken', {
    IdentityId: identity.IdentityId,
  });
  const token = String(openId.Token);
  const clockOffsetMs = issuedAt(token) * 1000 - Date.now() || 0;
  const credentials = await fromWebToken({
    roleArn: config.guestRoleArn,
    webIdentityToken: token,
    roleSessionName: 'guest',
    clientConfig: { region: config.region },
  })();
  return { credentials, clockOffsetMs };
}

async function identityPool(
  config: AgentConfig,
  operation: 'GetId' | 'GetOpenIdToken',
  body: object,
): Promise<Record<string, unknown>> {
  const response = await fetch(`https://cognito-identity.${config.region}.amazonaws.com/`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-amz-json-1.1',
      'X-Amz-Target': `AWSCognitoIdentityService.${operation}`,
    },
    body: JSON.stringify(body),
    credentials: 'omit',
  });
  if (!response.ok) {
    // As the SDK's errors have it, so that a refusal is told as one, and not as a lost network.
    const $metadata = { httpStatusCode: response.status };
    throw Object.assign(new Error(`${operation} was refused.`), { $metadata });
  }
  const answer: unknown = await response.json();
  if (!isRecord(answer)) throw new Error(`${operation} was not answered.`);
  return answer;
}
