package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;

/** The demo that {@code make test-java} starts: a real server with PostgreSQL, Envoy and an identity provider. */
final class Demo {

    private final Map<?, ?> facts;

    private Demo(Map<?, ?> facts) {
        this.facts = facts;
    }

    /** Returns the demo; without one the test is skipped. */
    static Demo running() throws Exception {
        String file = System.getProperty("demo.facts");
        Assumptions.assumeTrue(file != null, "needs a running demo, as make test-java starts one: -Ddemo.facts=FILE");
        return new Demo((Map<?, ?>) Json.read(Files.readAllBytes(Path.of(file))));
    }

    Map<?, ?> facts() {
        return facts;
    }

    String fact(String name) {
        return (String) facts.get(name);
    }

    URI url() {
        return URI.create(fact("rest_url"));
    }

    /** Returns a client of the identity provider, {@code operations} administers the tenant. */
    ClientCredentials client(String id) {
        return ClientCredentials.builder(fact("issuer"), id)
                .secret(id + "-secret")
                .build();
    }

    ExtauthzClient administrator() {
        return ExtauthzClient.builder(url(), client(fact("admin_client_id"))).build();
    }

    /** Creates a service API key, as the operator does. */
    ServiceKey serviceKey(Map<String, Object> members) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url() + "/api/v1/service-api-keys"))
                .header("X-Admin-Api-Key", fact("admin_api_key"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofByteArray(Json.write(members)))
                .build();
        HttpResponse<byte[]> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofByteArray());
        assertEquals(201, answer.statusCode());
        return new ServiceKey((String) ((Map<?, ?>) Json.read(answer.body())).get("key"));
    }
}
