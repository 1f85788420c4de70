// Drives a phone with @yume-chan/adb-scrcpy: node yume.mjs PORT SERIAL JAR VIDEO tunnel|forward
// Writes the packets of the video into the file VIDEO, and prints what it saw as JSON.
import { readFile, writeFile } from "node:fs/promises";
import { ReadableStream } from "node:stream/web";

import { AdbServerClient } from "@yume-chan/adb";
import { AdbScrcpyClient, AdbScrcpyOptions3_3_3 } from "@yume-chan/adb-scrcpy";
import { AdbServerNodeTcpConnector } from "@yume-chan/adb-server-node-tcp";
import {
    AndroidKeyCode,
    AndroidKeyEventAction,
    AndroidMotionEventAction,
    AndroidMotionEventButton,
    DefaultServerPath,
    ScrcpyPointerId,
} from "@yume-chan/scrcpy";

const [port, serial, jar, videoFile, way] = process.argv.slice(2);
const server = new AdbServerClient(
    new AdbServerNodeTcpConnector({ host: "127.0.0.1", port: Number(port) }),
);
const adb = await server.createAdb({ serial });
const content = await readFile(jar);
await AdbScrcpyClient.pushServer(
    adb,
    new ReadableStream({
        start(controller) {
            controller.enqueue(new Uint8Array(content));
            controller.close();
        },
    }),
);
// The package ends at 3.3.3, whose protocol 3.3.4 has: only the version's word is told.
const options = new AdbScrcpyOptions3_3_3(
    { tunnelForward: way === "forward", maxFps: 30, maxSize: 640 },
    { version: "3.3.4" },
);
const client = await AdbScrcpyClient.start(adb, DefaultServerPath, options);
const lines = [];
client.output
    .pipeTo(new WritableStream({ write: (line) => void lines.push(line) }))
    .catch(() => {});
const audio = await client.audioStream;
const video = await client.videoStream;
const reader = video.stream.getReader();
const packets = [];

async function packet() {
    const { done, value } = await reader.read();
    if (done) {
        throw new Error(`the video ended: ${lines.join("\n")}`);
    }
    packets.push(value);
    return value;
}

async function touch(action, x, y) {
    await client.controller.injectTouch({
        action,
        pointerId: ScrcpyPointerId.Finger,
        pointerX: x,
        pointerY: y,
        videoWidth: video.width,
        videoHeight: video.height,
        pressure: 1,
        actionButton: AndroidMotionEventButton.Primary,
        buttons: AndroidMotionEventButton.Primary,
    });
}

async function tap(x, y) {
    await touch(AndroidMotionEventAction.Down, x, y);
    await touch(AndroidMotionEventAction.Up, x, y);
}

async function key(keyCode) {
    for (const action of [AndroidKeyEventAction.Down, AndroidKeyEventAction.Up]) {
        await client.controller.injectKeyCode({ action, keyCode, repeat: 0, metaState: 0 });
    }
}

await packet();
const first = await packet();
await tap(180, 280); // the app's icon
for (let count = 0; count < 25; count++) {
    await packet();
}
const drawn = packets.length;
await tap(180, 610); // the tab Search
await tap(100, 110); // the text field
await client.controller.injectText("ramen ");
await client.controller.setClipboard({ sequence: 5n, paste: true, content: "\u5bff\u53f8" });
await client.controller.resetVideo();
let late = await packet();
while (late.type !== "configuration") {
    late = await packet();
}
const lateFrame = await packet();
await client.controller.rotateDevice();
let turned = await packet();
while (turned.type !== "configuration") {
    turned = await packet();
}
await packet();
const turnedSize = [video.width, video.height];
await key(AndroidKeyCode.Enter);
// What the phone copies after this is sent by itself.
const { value: clipboard } = await client.clipboard.getReader().read();

await writeFile(
    videoFile,
    JSON.stringify(
        packets.map(({ type, keyframe, data }) => ({
            type,
            keyframe,
            data: Buffer.from(data).toString("base64"),
        })),
    ),
);
process.stdout.write(
    `${JSON.stringify({
        name: video.metadata.deviceName,
        size: [video.metadata.width, video.metadata.height],
        audio: audio.type,
        firstIsKey: first.keyframe,
        lateIsKey: lateFrame.keyframe,
        drawn,
        turned: turnedSize,
        clipboard,
    })}\n`,
);
await client.close();
process.exit(0);
