package io.extauthz.client;

/** Lists the resources with what the environment names; {@code sdk/java/tests} runs it. */
final class ListResources {

    private ListResources() {}

    public static void main(String[] arguments) {
        try (var client = ExtauthzClient.fromEnvironment(System.getenv()).build()) {
            System.out.println(client.resources());
        } catch (ExtauthzException error) {
            System.out.println(error.getMessage());
            System.exit(1);
        }
    }
}
