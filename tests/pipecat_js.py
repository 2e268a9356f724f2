"""Pipecat's JavaScript client for the browser, fetched from npm and bundled into out/ at the first use."""

import asyncio
import json
import shutil
from pathlib import Path

NPM = shutil.which("npm")
FOLDER = Path(__file__).parents[1] / "out" / "pipecat-js"
PACKAGES = {
    "@pipecat-ai/client-js": "1.13.1",
    "@pipecat-ai/small-webrtc-transport": "1.10.8",
    "@pipecat-ai/websocket-transport": "1.7.1",
    "esbuild": "0.25.0",
}
# What a page does with the client. `heard` keeps the client's callbacks, each with its data.
PAGE = """
import { PipecatClient } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport } from "@pipecat-ai/small-webrtc-transport";
import { WebSocketTransport, WavMediaManager } from "@pipecat-ai/websocket-transport";

const heard = [];
const callbacks = Object.fromEntries(
  ["onConnected", "onDisconnected", "onBotReady", "onUserTranscript", "onBotTranscript", "onBotStartedSpeaking",
   "onBotStoppedSpeaking", "onBotLlmText", "onError", "onMessageError"]
    .map((name) => [name, (data) => heard.push([name, data ?? null])]));
const transports = {
  websocket: (media) => new WebSocketTransport({ ...media, recorderSampleRate: 16000, playerSampleRate: 24000 }),
  webrtc: (media) => new SmallWebRTCTransport({ ...media, waitForICEGathering: true }),
};

window.pipecat = {
  heard,
  all: (name) => heard.filter(([kind]) => kind === name).map(([, data]) => data),
  async call(kind, agent) {
    const transport = transports[kind]({ mediaManager: new WavMediaManager() });
    const client = new PipecatClient({ transport, enableMic: true, enableCam: false, callbacks });
    window.pipecat.client = client;
    if (kind === "websocket") {
      await client.connect({ wsUrl: location.origin.replace("http", "ws") + "/ws?agent=" + agent });
    } else {
      const requestData = { transport: "webrtc", body: { agent } };
      await client.startBotAndConnect({ endpoint: location.origin + "/start", requestData });
    }
    return client.state;
  },
};
"""


class CommandFailed(Exception):
    """A command took too long or exited with an error."""


class NoPackages(Exception):
    """npm cannot fetch the packages here."""


async def bundle() -> str:
    """The script that defines `window.pipecat`. Raises NoPackages, and CommandFailed when it cannot be bundled."""
    target = FOLDER / "bundle.js"
    wanted = json.dumps({"private": True, "dependencies": PACKAGES})
    package, page = FOLDER / "package.json", FOLDER / "page.js"
    if target.exists() and (package.read_text(), page.read_text()) == (wanted, PAGE):
        return target.read_text()
    FOLDER.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    package.write_text(wanted)
    page.write_text(PAGE)
    try:
        await _run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    except CommandFailed as error:
        raise NoPackages(str(error)) from error
    await _run("npx", "--no-install", "esbuild", page.name, "--bundle", "--format=iife", f"--outfile={target.name}")
    return target.read_text()


async def _run(*command: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *command, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(180):
            said, _ = await child.communicate()
    except TimeoutError as error:
        child.kill()
        await child.wait()
        raise CommandFailed(f"{command[0]} took too long") from error
    if child.returncode:
        raise CommandFailed(f"{' '.join(command[:2])}: {said.decode(errors='replace')[-500:]}")
