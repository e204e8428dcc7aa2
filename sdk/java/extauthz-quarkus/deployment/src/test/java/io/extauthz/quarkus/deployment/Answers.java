package io.extauthz.quarkus.deployment;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import org.eclipse.microprofile.config.ConfigProvider;

/** Asks the application under test as any client does. */
final class Answers {

    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private Answers() { }

    /** Sends a request; headers are names and values in turn. */
    static HttpResponse<String> send(String method, String path, String... headers) {
        String address = ConfigProvider.getConfig().getValue("test.url", String.class);
        String root = ConfigProvider.getConfig()
                .getOptionalValue("quarkus.http.root-path", String.class).orElse("/");
        String base = address.endsWith(root) ? address.substring(0, address.length() - root.length()) : address;
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path))
                .method(method, HttpRequest.BodyPublishers.noBody());
        if (headers.length > 0) {
            request.headers(headers);
        }
        try {
            return CLIENT.send(request.build(), BodyHandlers.ofString());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }

    /** Returns the body of an answer to GET. */
    static String get(String path) {
        return send("GET", path).body();
    }
}
