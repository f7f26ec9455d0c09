// For trying it out without a mail server: the mails MiniStack took in.
import { type ReactNode, useEffect, useState } from 'react';

type Mail = { to: string; subject: string; text: string; at: number };

const POLL_MS = 2_000;

type MailboxProps = { endpoint: string; polling: boolean };

export function Mailbox({ endpoint, polling }: MailboxProps): ReactNode {
  const [mails, setMails] = useState<Mail[] | null>(null);
  const [wide] = useState(() => matchMedia('(min-width: 56rem)').matches);
  const there = mails !== null;

  useEffect(() => {
    const ended = new AbortController();
    async function look(): Promise<void> {
      const found = await readMailbox(endpoint, ended.signal);
      if (found && !ended.signal.aborted) setMails(found);
    }
    void look();
    const timer = polling && there ? setInterval(() => void look(), POLL_MS) : undefined;
    return () => {
      clearInterval(timer);
      ended.abort();
    };
  }, [endpoint, polling, there]);

  if (!mails) return null;
  return (
    <section className="mailbox" aria-label="Mailbox">
      <details open={wide}>
        <summary>Mailbox ({mails.length})</summary>
        <p>The mails of this local stack, whoever they are to.</p>
        {mails.map((mail) => (
          <article key={`${mail.at} ${mail.to}`}>
            <h2>{mail.subject}</h2>
            <p>
              To {mail.to}, {new Date(mail.at * 1000).toLocaleTimeString()}
            </p>
            <pre>{mail.text}</pre>
          </article>
        ))}
      </details>
    </section>
  );
}

async function readMailbox(endpoint: string, signal: AbortSignal): Promise<Mail[] | null> {
  try {
    const response = await fetch(endpoint, { signal });
    return response.status === 200 ? ((await response.json()) as Mail[]) : null;
  } catch {
    return null;
  }
}
