package io.extauthz.client;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What a check costs in the client, over the same exchange by {@code java.net.http} alone.
 *
 * <p>{@code serve} is a server that answers every request with one allow at once, and prints its address;
 * {@code measure ADDRESS} asks it in turns with both and prints the numbers. {@code
 * tests/benchmarks/bench_java_client.py} runs both, each in a JVM of its own.
 */
final class CheckBenchmark {

    private static final byte[] ALLOW = ("{\"decision\":\"allow\",\"reason\":\"rule_matched\",\"matched_rule_id\":"
        + "\"01a22a7d-75f6-749a-8723-5b5f464534ef\",\"decision_id\":\"01a22a7d-75d4-78e5-9751-5754ed58ce54\",\"policy_revision\":24,\"message\":\"a"
        + " rule allows finance to read invoice:read\"}")
            .getBytes(StandardCharsets.UTF_8);
    private static final int WARM_UP = 20_000;
    private static final int ROUNDS = 60;
    private static final int CALLS = 500;

    private CheckBenchmark() {}

    /** One exchange. */
    private interface Call {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("serve")) {
            serve();
        } else {
            measure(URI.create(arguments[1]));
        }
    }

    private static void serve() throws IOException {
        try (var listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            System.out.println("http://localhost:" + listening.getLocalPort());
            while (true) {
                Socket connection = listening.accept();
                connection.setTcpNoDelay(true);
                var thread = new Thread(() -> answer(connection));
                thread.setDaemon(true);
                thread.start();
            }
        }
    }

    private static void answer(Socket connection) {
        byte[] head = ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " + ALLOW.length
                        + "\r\n\r\n")
                .getBytes(StandardCharsets.US_ASCII);
        byte[] answer = Arrays.copyOf(head, head.length + ALLOW.length);
        System.arraycopy(ALLOW, 0, answer, head.length, ALLOW.length);
        try (connection;
                var input = new BufferedInputStream(connection.getInputStream())) {
            while (readRequest(input)) {
                connection.getOutputStream().write(answer);
            }
        } catch (IOException error) {
            // The client is done with this connection.
        }
    }

    /** Reads a request; false at the end of the connection. */
    private static boolean readRequest(InputStream input) throws IOException {
        int length = 0;
        for (String line = line(input); line != null; line = line(input)) {
            if (line.isEmpty()) {
                return input.readNBytes(length).length == length;
            }
            if (line.regionMatches(true, 0, "content-length:", 0, 15)) {
                length = Integer.parseInt(line.substring(15).strip());
            }
        }
        return false;
    }

    private static String line(InputStream input) throws IOException {
        var text = new StringBuilder();
        for (int octet = input.read(); octet >= 0; octet = input.read()) {
            if (octet == '\n') {
                return text.toString();
            }
            if (octet != '\r') {
                text.append((char) octet);
            }
        }
        return null;
    }

    private static void measure(URI url) throws Exception {
        HttpClient bare =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        var question = CheckRequest.builder("invoice:read", "read")
                .subject("alice", SubjectKind.USER)
                .domain("emea")
                .attributes("user", Map.of("roles", java.util.List.of("finance", "reporter")))
                .attributes("resource", Map.of("number", "7"))
                .build();
        byte[] body = Json.write(question.document());
        Call alone = () -> {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/api/v1/check"))
                    .header("x-service-api-key", "sak_live_benchmark")
                    .header("content-type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                    .build();
            if (bare.send(request, HttpResponse.BodyHandlers.ofByteArray()).body().length != ALLOW.length) {
                throw new IllegalStateException("not the answer");
            }
        };
        try (var client = ExtauthzClient.builder(url, new ServiceKey("sak_live_benchmark"))
                .build()) {
            Call check = () -> {
                if (!client.check(question).allowed()) {
                    throw new IllegalStateException("not the answer");
                }
            };
            var numbers = new LinkedHashMap<String, Object>();
            numbers.put("jvm", System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version"));
            numbers.put("calls", ROUNDS * CALLS);
            compare(alone, check, numbers);
            System.out.println(new String(Json.write(numbers), StandardCharsets.US_ASCII));
        }
    }

    private static void compare(Call alone, Call check, Map<String, Object> numbers) throws Exception {
        for (int call = 0; call < WARM_UP; call++) {
            alone.run();
            check.run();
        }
        double[] alonePerCall = new double[ROUNDS * CALLS];
        double[] checkPerCall = new double[ROUNDS * CALLS];
        double[] added = new double[ROUNDS];
        double[] addedCpu = new double[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            // The one that goes first changes, so that neither always finds the caches of the other.
            boolean aloneFirst = round % 2 == 0;
            double first = batch(aloneFirst ? alone : check, aloneFirst ? alonePerCall : checkPerCall, round);
            double second = batch(aloneFirst ? check : alone, aloneFirst ? checkPerCall : alonePerCall, round);
            addedCpu[round] = aloneFirst ? second - first : first - second;
            added[round] = median(checkPerCall, round) - median(alonePerCall, round);
        }
        numbers.put("alone_us", spread(alonePerCall));
        numbers.put("check_us", spread(checkPerCall));
        numbers.put("added_us", spread(added));
        numbers.put("added_cpu_us", spread(addedCpu));
    }

    /** Runs the calls of a round; returns the CPU time of the whole process for each, in microseconds. */
    private static double batch(Call call, double[] perCall, int round) throws Exception {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long cpu = system.getProcessCpuTime();
        for (int index = round * CALLS; index < (round + 1) * CALLS; index++) {
            long began = System.nanoTime();
            call.run();
            perCall[index] = (System.nanoTime() - began) / 1e3;
        }
        return (system.getProcessCpuTime() - cpu) / 1e3 / CALLS;
    }

    private static double median(double[] perCall, int round) {
        return percentile(Arrays.copyOfRange(perCall, round * CALLS, (round + 1) * CALLS), 0.5);
    }

    private static Map<String, Object> spread(double[] values) {
        var found = new LinkedHashMap<String, Object>();
        found.put("p50", percentile(values, 0.5));
        found.put("p90", percentile(values, 0.9));
        found.put("p99", percentile(values, 0.99));
        return found;
    }

    private static double percentile(double[] values, double share) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return Math.round(sorted[(int) Math.min(sorted.length - 1, share * sorted.length)] * 10) / 10.0;
    }
}
