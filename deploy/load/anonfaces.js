// Photos at a rate, by HTTP and by gRPC. Arrivals do not wait for answers: a service that is slow gets no fewer of them.
//
//   k6 run -e SCENARIO=ramp -e PHOTOS=$PWD/build/load/photos -e URL=http://127.0.0.1:8080 deploy/load/anonfaces.js
//
// SCENARIO  constant, ramp, spike, soak: a staircase of rates; or probe: USERS that ask again as soon as they are answered
// RATES     requests a second on each stair, such as 1,2,4; SECONDS: how long a stair is (both have defaults)
// PROTOCOL  http, grpc, or both in turn;  URL, GRPC: where the service listens;  API_KEY: if it needs one
// PHOTOS    the full path of a folder with photos.json: [{file, media_type, faces}]; `anonfaces local load` writes one
// PROTO     folder of the repository, in which services/proto is;  SUMMARY: a file for the result
// USERS     most requests under way, or those of the probe
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';
import grpc from 'k6/net/grpc';

const SCENARIOS = {
  constant: { rates: '2', seconds: 30, steady: true },
  ramp: { rates: '1,2,4,8,16', seconds: 10, steady: false },
  spike: { rates: '1,16,1', seconds: 10, steady: false },
  soak: { rates: '1', seconds: 1200, steady: true, users: 16 }, // few, so that all have their connections soon
  probe: { rates: '', seconds: 10, steady: false, users: 8 },
};
const NAME = __ENV.SCENARIO || 'constant';
const CHOSEN = SCENARIOS[NAME];
if (CHOSEN === undefined) throw new Error(`SCENARIO is one of ${Object.keys(SCENARIOS).join(', ')}`);
const PROTOCOL = __ENV.PROTOCOL || 'http';
const SECONDS = Number(__ENV.SECONDS || CHOSEN.seconds);
const RATES = (__ENV.RATES || CHOSEN.rates).split(',').map(Number);
const USERS = Number(__ENV.USERS || CHOSEN.users || 100);
const TIMEOUT = '90s'; // longer than the service takes before it gives up itself

const KEY = __ENV.API_KEY ? { 'x-api-key': __ENV.API_KEY } : {};
const PHOTOS = JSON.parse(open(`${__ENV.PHOTOS}/photos.json`)).map((photo) => {
  const data = open(`${__ENV.PHOTOS}/${photo.file}`, 'b');
  return { ...photo, data, text: PROTOCOL === 'http' ? null : encoding.b64encode(data) };
});
const client = new grpc.Client();
if (PROTOCOL !== 'http') client.load([__ENV.PROTO || '.'], 'services/proto/anonfaces_v1.proto');
let connected = false;

const milliseconds = new Trend('anonfaces_ms', true);
const failed = new Rate('anonfaces_failed');
const refused = new Rate('anonfaces_refused');
const serverErrors = new Counter('anonfaces_server_errors');
const uncounted = new Counter('anonfaces_uncounted'); // finished photos without the counts of their faces, or with others

const thresholds = {
  anonfaces_failed: ['rate==0'],
  anonfaces_server_errors: ['count==0'],
  anonfaces_uncounted: ['count==0'],
};
if (CHOSEN.steady) {
  thresholds.anonfaces_refused = ['rate<0.01'];
  thresholds.dropped_iterations = ['count==0'];
}

function stairs() {
  const perMinute = RATES.map((rate) => Math.max(1, Math.round(60 * rate)));
  return {
    executor: 'ramping-arrival-rate',
    startRate: perMinute[0],
    timeUnit: '1m',
    stages: perMinute.flatMap((target) => [
      { target, duration: '0s' },
      { target, duration: `${SECONDS}s` },
    ]),
    preAllocatedVUs: USERS,
    maxVUs: USERS,
    gracefulStop: TIMEOUT,
  };
}

const closedLoop = { executor: 'constant-vus', vus: USERS, duration: `${SECONDS}s`, gracefulStop: TIMEOUT };

export const options = {
  scenarios: { [NAME]: NAME === 'probe' ? closedLoop : stairs() },
  thresholds,
  discardResponseBodies: true,
  insecureSkipTLSVerify: __ENV.INSECURE === 'true',
};

export default function () {
  const number = exec.scenario.iterationInTest;
  const photo = PHOTOS[number % PHOTOS.length];
  const protocol = PROTOCOL === 'both' ? ['http', 'grpc'][Math.floor(number / PHOTOS.length) % 2] : PROTOCOL;
  const start = Date.now();
  const answer = protocol === 'http' ? byHttp(photo) : byGrpc(photo);
  const outcome = outcomeOf(answer, photo);
  milliseconds.add(Date.now() - start, { protocol, outcome, status: String(answer.status), photo: photo.file });
  failed.add(outcome === 'failed' || outcome === 'uncounted');
  refused.add(outcome === 'refused');
  serverErrors.add(answer.serverError ? 1 : 0);
  uncounted.add(outcome === 'uncounted' ? 1 : 0);
}

// Where there is no room, the service says when to come again: that is no failure.
function outcomeOf(answer, photo) {
  if (answer.busy && answer.retryAfter > 0) return 'refused';
  if (!answer.done) return 'failed';
  const { faces, enrolled, strangers, masked } = answer.counts;
  return faces === photo.faces && faces === enrolled + strangers + masked ? 'ok' : 'uncounted';
}

function byHttp(photo) {
  const headers = { 'Content-Type': photo.media_type, ...KEY };
  const answer = http.post(`${__ENV.URL}/v1/anonymize`, photo.data, { headers, timeout: TIMEOUT });
  const count = (name) => Number(answer.headers[`X-Anonfaces-${name}`]); // as k6 spells the names of headers
  return {
    status: answer.status,
    done: answer.status === 200,
    busy: answer.status === 429,
    serverError: answer.status === 0 || answer.status >= 500,
    retryAfter: Number(answer.headers['Retry-After']),
    counts: { faces: count('Faces'), enrolled: count('Enrolled'), strangers: count('Strangers'), masked: count('Masked') },
  };
}

const SERVER_ERRORS = [grpc.StatusUnknown, grpc.StatusDeadlineExceeded, grpc.StatusInternal, grpc.StatusUnavailable];

function byGrpc(photo) {
  if (!connected) {
    const plaintext = __ENV.TLS !== 'true';
    client.connect(__ENV.GRPC, { plaintext, timeout: TIMEOUT, maxReceiveSize: 256 * 1024 * 1024 });
    connected = true;
  }
  const answer = client.invoke('anonfaces.v1.Anonymizer/Anonymize', { photo: photo.text }, { metadata: KEY, timeout: TIMEOUT });
  const told = (answer.message && answer.message.finished) || {};
  return {
    status: answer.status,
    done: answer.status === grpc.StatusOK,
    busy: answer.status === grpc.StatusResourceExhausted,
    serverError: SERVER_ERRORS.includes(answer.status),
    retryAfter: Number([].concat(answer.trailers['retry-after'])[0]),
    // proto3 leaves out a count of 0
    counts: { faces: told.faces || 0, enrolled: told.enrolled || 0, strangers: told.strangers || 0, masked: told.masked || 0 },
  };
}

export function handleSummary(data) {
  return __ENV.SUMMARY ? { [__ENV.SUMMARY]: JSON.stringify(data) } : { stdout: `${JSON.stringify(data.metrics, null, 1)}\n` };
}
