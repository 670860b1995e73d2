"""Where people sign in: moved to a plugin that nobody ships yet."""

urlpatterns = []
