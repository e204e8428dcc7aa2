package io.extauthz.client;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.function.Function;
import javax.net.ssl.SSLContext;

/**
 * The client of the admin REST API: one method a call. It is for any number of threads at once.
 *
 * <p>Answers that say "not now" (429, 502, 503, 504), connections that cannot be made and an identity provider
 * that is away are tried again, {@link Builder#attempts} times in all, after what {@code Retry-After} says or
 * twice as long each time; a {@code Retry-After} of more than 10 seconds is not waited for. What could do a
 * thing twice is sent again only when it surely was not done. Redirects are never followed.
 *
 * <p>Every call throws an {@link ExtauthzException}: {@link ApiException} when the API refuses,
 * {@link UnreachableException} when no answer arrives (also when the thread is interrupted, which stays so),
 * {@link UnexpectedAnswerException} when the answer is not the API's. After {@link #close} it throws
 * {@link IllegalStateException}.
 *
 * <p>Its threads are daemons.
 */
public final class ExtauthzClient implements AutoCloseable {

    private static final int PAGE = 500;
    private static final int DENIED = 403;
    private static final int NONE = 0;
    private static final String RESOURCES = "/api/v1/resources";
    private static final String ROLE_RULES = "/api/v1/resources/policies";
    private static final String ROLE_BINDINGS = "/api/v1/role-bindings";
    private static final String ATTRIBUTE_POLICIES = "/api/v1/abac/policies";

    private final Http http;
    private volatile long revision = -1;

    private ExtauthzClient(Builder builder) {
        var transport = new Transport(Trust.settings(builder.sslContext, builder.caCertificates), builder.timeout);
        http = new Http(builder.baseUrl, builder.credentials, builder.attempts, transport, builder.timing);
    }

    /**
     * Starts a client.
     *
     * @param baseUrl the address of the API, without {@code /api/v1}
     * @param credentials who calls
     * @return a builder
     * @throws IllegalArgumentException the address is not an http or https one
     */
    public static Builder builder(URI baseUrl, Credentials credentials) {
        return new Builder(baseUrl, credentials);
    }

    /**
     * Starts a client with what an environment names: {@code EXTAUTHZ_URL}, the variables of
     * {@link Credentials#fromEnvironment} and, where it is set, {@code EXTAUTHZ_CA_FILE}.
     *
     * @param environment the variables, such as {@link System#getenv()}
     * @return a builder
     * @throws ExtauthzException a variable is missing or wrong; the message has its name
     */
    public static Builder fromEnvironment(Map<String, String> environment) {
        return new Environment(environment).client();
    }

    /** Closes the connections; calls that wait for an answer throw {@link UnreachableException}. */
    @Override
    public void close() {
        http.close();
    }

    /**
     * Returns the revision of the write that was answered last. A check with it as
     * {@link CheckRequest#minRevision} sees that write.
     *
     * @return the revision, empty before the first write
     */
    public OptionalLong policyRevision() {
        long known = revision;
        return known < 0 ? OptionalLong.empty() : OptionalLong.of(known);
    }

    /**
     * Registers resources with their routes, all or none; registering the same again changes nothing.
     *
     * <p>Of a name that is there already, the routes and default roles given here replace the stored ones.
     *
     * @param resources the resources
     * @return the resources as they are stored, with their ids
     */
    public List<ResourceSpec> register(Collection<ResourceSpec> resources) {
        List<Map<String, Object>> body = Documents.all(resources, ResourceSpec::document);
        Http.Answer answer = write("POST", RESOURCES + "/list", Map.of(), body, true);
        return Documents.all(Members.list(answer.document()), ResourceSpec::read);
    }

    /**
     * Returns every resource.
     *
     * @return the resources
     */
    public List<ResourceSpec> resources() {
        return resources(null, null);
    }

    /**
     * Returns the resources, filtered by what is given.
     *
     * @param name the name; null for every name
     * @param serviceName the service; null for every service
     * @return the resources
     */
    public List<ResourceSpec> resources(String name, String serviceName) {
        return all(RESOURCES, filters("name", name, "serviceName", serviceName), ResourceSpec::read);
    }

    /**
     * Deletes a resource; other rules that name it are a conflict.
     *
     * @param id the resource's id
     */
    public void deleteResource(String id) {
        deleteResource(id, false);
    }

    /**
     * Deletes a resource.
     *
     * @param id the resource's id
     * @param cascade whether to delete other rules that name it; without it they are a conflict
     */
    public void deleteResource(String id, boolean cascade) {
        write(
                "DELETE",
                RESOURCES + "/" + Addresses.segment(id),
                cascade ? Map.of("cascade", "true") : Map.of(),
                null,
                true);
    }

    /**
     * Returns every role rule.
     *
     * @return the rules
     */
    public List<RoleRule> roleRules() {
        return roleRules(null, null, null);
    }

    /**
     * Returns the role rules, filtered by what is given.
     *
     * @param obj the name of a resource; null for every one
     * @param sub the subject; null for every one
     * @param dom the domain; null for every one
     * @return the rules
     */
    public List<RoleRule> roleRules(String obj, String sub, String dom) {
        return all(ROLE_RULES, filters("obj", obj, "sub", sub, "dom", dom), RoleRule::read);
    }

    /**
     * Creates a role rule.
     *
     * @param rule the rule; its id is not sent
     * @return the rule with its id
     */
    public RoleRule createRoleRule(RoleRule rule) {
        return RoleRule.read(
                write("POST", ROLE_RULES, Map.of(), rule.document(), false).document());
    }

    /**
     * Replaces the role rule that has this id.
     *
     * @param rule the rule with the id that the API gave it
     * @return the rule as it is stored
     * @throws IllegalArgumentException the rule has no id
     */
    public RoleRule replaceRoleRule(RoleRule rule) {
        String path = ROLE_RULES + "/" + stored(rule.id());
        return RoleRule.read(write("PUT", path, Map.of(), rule.document(), true).document());
    }

    /**
     * Deletes a role rule.
     *
     * @param id the rule's id
     */
    public void deleteRoleRule(String id) {
        write("DELETE", ROLE_RULES + "/" + Addresses.segment(id), Map.of(), null, true);
    }

    /**
     * Returns every role binding.
     *
     * @return the bindings
     */
    public List<RoleBinding> roleBindings() {
        return all(ROLE_BINDINGS, Map.of(), RoleBinding::read);
    }

    /**
     * Creates a role binding.
     *
     * @param binding the binding; its id is not sent
     * @return the binding with its id
     */
    public RoleBinding createRoleBinding(RoleBinding binding) {
        return RoleBinding.read(write("POST", ROLE_BINDINGS, Map.of(), binding.document(), false)
                .document());
    }

    /**
     * Deletes a role binding.
     *
     * @param id the binding's id
     */
    public void deleteRoleBinding(String id) {
        write("DELETE", ROLE_BINDINGS + "/" + Addresses.segment(id), Map.of(), null, true);
    }

    /**
     * Returns every attribute policy that is not deleted.
     *
     * @return the policies
     */
    public List<AttributePolicy> attributePolicies() {
        return attributePolicies(null);
    }

    /**
     * Returns the attribute policies of a resource that are not deleted.
     *
     * @param resource the name of the resource; null for every one
     * @return the policies
     */
    public List<AttributePolicy> attributePolicies(String resource) {
        return all(ATTRIBUTE_POLICIES, filters("resource", resource), AttributePolicy::read);
    }

    /**
     * Creates an attribute policy.
     *
     * @param policy the policy; its id is not sent
     * @return the policy with its id and what the API warns of
     */
    public AttributePolicy createAttributePolicy(AttributePolicy policy) {
        return AttributePolicy.read(write("POST", ATTRIBUTE_POLICIES, Map.of(), policy.document(), false)
                .document());
    }

    /**
     * Replaces the attribute policy that has this id.
     *
     * @param policy the policy with the id that the API gave it
     * @return the policy as it is stored, and what the API warns of
     * @throws IllegalArgumentException the policy has no id
     */
    public AttributePolicy replaceAttributePolicy(AttributePolicy policy) {
        String path = ATTRIBUTE_POLICIES + "/" + stored(policy.id());
        return AttributePolicy.read(
                write("PUT", path, Map.of(), policy.document(), true).document());
    }

    /**
     * Deletes an attribute policy; it can be restored.
     *
     * @param id the policy's id
     */
    public void deleteAttributePolicy(String id) {
        write("DELETE", ATTRIBUTE_POLICIES + "/" + Addresses.segment(id), Map.of(), null, true);
    }

    /**
     * Brings a deleted attribute policy back.
     *
     * @param id the policy's id
     * @return the policy
     */
    public AttributePolicy restoreAttributePolicy(String id) {
        String path = ATTRIBUTE_POLICIES + "/" + Addresses.segment(id) + "/restore";
        return AttributePolicy.read(write("POST", path, Map.of(), null, true).document());
    }

    /**
     * Asks for a decision; a denial is a result, not an error.
     *
     * @param request what is asked about
     * @return the decision
     */
    public CheckResult check(CheckRequest request) {
        return check(http, request);
    }

    /**
     * Asks for a decision with the token of a caller in place of the client's credential. A caller with a token
     * asks about itself: the request names no subject and no claims.
     *
     * @param token the token, without {@code Bearer}; it is sent to the API and kept nowhere
     * @param request what is asked about
     * @return the decision
     * @throws ApiException with the status 401 where the token is not valid
     * @throws IllegalArgumentException the text is not a token of RFC 6750
     */
    public CheckResult checkAs(String token, CheckRequest request) {
        return check(http.as(new BearerToken(token)), request);
    }

    private static CheckResult check(Http http, CheckRequest request) {
        Http.Answer answer = http.call("POST", "/api/v1/check", Map.of(), request.document(), true, DENIED);
        if (answer.status() == DENIED
                && !(answer.document() instanceof Map<?, ?> members && members.containsKey("decision"))) {
            throw answer.problem();
        }
        return CheckResult.read(answer.document(), answer.status());
    }

    private <T> List<T> all(String path, Map<String, String> filters, Function<Object, T> read) {
        var found = new ArrayList<T>();
        String cursor = null;
        do {
            var query = new LinkedHashMap<>(filters);
            query.put("limit", String.valueOf(PAGE));
            if (cursor != null) {
                query.put("cursor", cursor);
            }
            var page =
                    new Members(http.call("GET", path, query, null, true, NONE).document());
            page.entries("items").forEach(document -> found.add(read.apply(document)));
            cursor = page.optionalText("next_cursor");
        } while (cursor != null);
        return Collections.unmodifiableList(found);
    }

    private Http.Answer write(String method, String path, Map<String, String> query, Object body, boolean repeatable) {
        Http.Answer answer = http.call(method, path, query, body, repeatable, NONE);
        if (answer.revision().matches("[0-9]{1,19}")) {
            try {
                revision = Long.parseLong(answer.revision());
            } catch (NumberFormatException error) {
                // More than 64 bits: the last known revision stays.
            }
        }
        return answer;
    }

    private static Map<String, String> filters(String... pairs) {
        var filters = new LinkedHashMap<String, String>();
        for (int index = 0; index < pairs.length; index += 2) {
            if (pairs[index + 1] != null) {
                filters.put(pairs[index], pairs[index + 1]);
            }
        }
        return filters;
    }

    private static String stored(String id) {
        if (id == null) {
            throw new IllegalArgumentException("what is to be replaced has the id that the API gave it");
        }
        return Addresses.segment(id);
    }

    /** Collects what a client needs. Not for several threads at once. */
    public static final class Builder {

        private final URI baseUrl;
        private final Credentials credentials;
        private int attempts = 4;
        private Duration timeout = Duration.ofSeconds(10);
        private Path caCertificates;
        private SSLContext sslContext;
        private Timing timing = Timing.SYSTEM;

        private Builder(URI baseUrl, Credentials credentials) {
            Addresses.base(baseUrl);
            this.baseUrl = baseUrl;
            this.credentials = Objects.requireNonNull(credentials, "credentials");
        }

        /**
         * Sets how often a call is tried in all.
         *
         * @param attempts the number; less than 1 is 1. It is 4 where it is not set
         * @return this builder
         */
        public Builder attempts(int attempts) {
            this.attempts = attempts;
            return this;
        }

        /**
         * Sets how long one attempt may take, to the last byte of its answer.
         *
         * @param timeout the time, more than 0 and at most a day; it is 10 seconds where it is not set
         * @return this builder
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Objects.requireNonNull(timeout, "timeout");
            return this;
        }

        /**
         * Trusts certificate authorities in addition to those of the JVM, for the API and the identity provider.
         *
         * @param file a file with certificates in PEM; null for none
         * @return this builder
         */
        public Builder caCertificates(Path file) {
            this.caCertificates = file;
            return this;
        }

        /**
         * Sets all of TLS, such as a certificate of the client, for the API and the identity provider.
         *
         * @param sslContext the settings; null for those of the JVM
         * @return this builder
         */
        public Builder sslContext(SSLContext sslContext) {
            this.sslContext = sslContext;
            return this;
        }

        /** Sets the clocks, in tests. */
        Builder timing(Timing timing) {
            this.timing = timing;
            return this;
        }

        /**
         * Makes the client. Nothing is opened before the first call.
         *
         * @return the client
         * @throws IllegalArgumentException the timeout is not more than 0 or more than a day, the file of certificates
         *     cannot be used, or both it and an {@code SSLContext} are set
         */
        public ExtauthzClient build() {
            return new ExtauthzClient(this);
        }
    }
}
